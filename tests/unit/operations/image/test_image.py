"""What an image holds: all that an apply would install, in an order in which nothing starts, and no secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from airfleet.components.hosts.systems import SYSTEMS
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.image import packer, root_files
from airfleet.operations.image.contents import ImageContents, find_system, read_contents
from airfleet.operations.image.kit import write_kit
from airfleet.operations.image.recipe import write_recipe
from airfleet.operations.image.root_files import RootBase
from airfleet.runners.fleet.plan import diff
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import AddUser, Install, Mask, Unpack
from airfleet.shell_script import render_script
from airfleet.spec.machines import Ec2, Machines, Openstack, Vsphere
from airfleet.workspace.airflow_version import find_locks
from command_line import invoke
from own_servers import OUTSIDE
from places import NINE, desired, parse

DEBIAN = SYSTEMS["debian", "12"]
MACHINES = """\
name: sales
machines:
  driver: ec2
  groups:
    main: {image: x, roles: [web, scheduler, database, broker]}
    worker: {count: 4, image: x, pools: [default]}
"""


@cache
def read(text: str = NINE, groups: tuple[str, ...] = ()) -> ImageContents:
    """Return the contents of an image. To describe nine hosts takes a second, so equal ones are described once."""
    return describe(text, groups)


def describe(text: str, groups: tuple[str, ...] = (), project: Path = Path("/nowhere")) -> ImageContents:
    airflow = [*find_locks()][-1]
    return read_contents(parse(text), project, groups=groups, system=DEBIAN, arch="x86_64", airflow=airflow)


def fill(contents: ImageContents, folder: Path) -> Path:
    """Return a cache in which the archives of an image are built already."""
    folder.mkdir()
    for recipe in contents.recipes:
        (folder / f"{recipe.digest}.tar.gz").write_text(f"the archive of {recipe.what}")
    return folder


@pytest.mark.parametrize("name", [host.name for host in parse(NINE).hosts])
def test_an_apply_installs_nothing_on_a_host_of_the_image(name: str) -> None:
    image = read()
    here = {step.what for step in (*image.before, *image.after)}
    for step in diff.decide(desired(name), HostFacts()):
        if isinstance(step.action, Install):
            assert set(step.action.packages) <= set(image.packages)
        elif isinstance(step.action, Mask | AddUser):
            assert step.what in here
        elif isinstance(step.action, Unpack):
            assert image.after
            assert any(one.input for one in image.after)


def test_an_image_is_the_same_whatever_the_secrets_are_and_makes_none_for_the_project(tmp_path: Path) -> None:
    # The secrets that are made to describe the hosts are random, so one that got into an image would change it.
    assert describe(MACHINES, project=tmp_path) == describe(MACHINES, project=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_image_for_a_fleet_whose_servers_somebody_else_runs_asks_for_no_url() -> None:
    image = read(OUTSIDE)
    assert not [name for name in image.packages if name.startswith("postgresql")]
    assert "rabbitmq-server" in image.packages


def test_groups_of_machines_stand_for_hosts_that_are_not_there_yet() -> None:
    every, worker = read(MACHINES), read(MACHINES, ("worker",))
    assert {"rabbitmq-server", "postgresql-15"} <= set(every.packages)
    assert not {"rabbitmq-server", "postgresql-15"} & set(worker.packages)
    assert {"haproxy", "openssh-server", "cloud-init", DEBIAN.python} <= set(worker.packages)
    assert every.name != worker.name


def test_a_group_that_a_running_fleet_gets_has_an_image_before_it_has_a_host() -> None:
    groups = "machines:\n  driver: ec2\n  groups:\n    etl: {image: x, count: 3, pools: [cpu]}\n"
    image = read(f"{NINE}{groups}", ("etl",))
    assert image.hosts == ("etl1", "etl2")
    assert "haproxy" in image.packages


def test_a_group_that_is_not_there_is_refused_and_so_is_a_fleet_without_machines() -> None:
    with pytest.raises(UsageError, match="there is no group etl") as refused:
        read(MACHINES, ("etl",))
    assert "main, worker" in refused.value.hint
    with pytest.raises(UsageError, match="names no hosts and no machines"):
        read("name: sales\n")


def test_a_kit_masks_services_before_it_installs_them_and_unpacks_what_is_in_it(tmp_path: Path) -> None:
    image = read(MACHINES)
    archives = {recipe.digest: tmp_path / recipe.digest for recipe in image.recipes}
    for digest, path in archives.items():
        path.write_text(digest)
    write_kit(image, tmp_path / "kit", archives)
    texts = {one.name: one.read_text() for one in sorted((tmp_path / "kit" / "steps").glob("*.sh"))}
    order = [next(name for name, text in texts.items() if word in text) for word in ("# mask rabbitmq", "# install")]
    assert order == sorted(order)
    for path in (tmp_path / "kit" / "steps").glob("*.input"):
        assert f"DIGEST={path.read_text()}\n" in path.with_suffix(".sh").read_text()
    assert json.loads((tmp_path / "kit" / "image.json").read_text())["archives"] == {
        recipe.digest: recipe.what for recipe in image.recipes
    }


def test_no_step_starts_or_enables_a_service() -> None:
    image = read()
    for step in (*image.before, image.install, *image.after):
        assert "systemctl" not in step.script, step.what


def test_a_recipe_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    image, machines = read(MACHINES), parse(MACHINES).machines
    write_recipe(image, machines, tmp_path / "out", print, cache=fill(image, tmp_path / "cache"))
    names = {one.name for one in (tmp_path / "out").iterdir()}
    assert names == {"prepare.sh", "clean.sh", "image.json", "steps", packer.FILE}
    without_archives = replace(image, recipes=())
    with pytest.raises(KeyError):
        write_recipe(without_archives, machines, tmp_path / "other", print, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("*other*"))


def test_packer_gets_names_and_asks_for_logins() -> None:
    vsphere = Vsphere("v.example.com", 443, "DC1", "C1", folder="a/${env.HOME}")
    text = packer.write_template(Machines("vsphere", (), vsphere=vsphere), "airfleet-sales-1")
    body = json.loads(text or "")
    source = body["source"]["vsphere-clone"]["airfleet"]
    assert (source["folder"], source["vm_name"]) == ("a/$${env.HOME}", "airfleet-sales-1")
    assert source["password"] == "${var.password}"
    assert body["variable"]["password"]["sensitive"] is True
    files = [one["file"]["source"] for one in body["build"]["provisioner"] if "file" in one]
    assert files == ["${path.root}/"], "the folder where somebody types may be the project, with its secrets"
    amazon = json.loads(packer.write_template(Machines("ec2", (), ec2=Ec2("eu-central-1")), "airfleet-sales-1") or "")
    assert amazon["source"]["amazon-ebs"]["airfleet"]["region"] == "eu-central-1"
    stack = Machines("openstack", (), openstack=Openstack("sales", security_groups=("airflow",)))
    source = json.loads(packer.write_template(stack, "airfleet-sales-1") or "")["source"]["openstack"]["airfleet"]
    assert (source["cloud"], source["flavor"], source["security_groups"]) == ("sales", "${var.flavor}", ["airflow"])
    assert packer.write_template(Machines("command", (), command=("driver",)), "x") is None


def test_keys_that_packages_make_for_one_machine_are_in_no_image(tmp_path: Path) -> None:
    made = [
        tmp_path / "root" / name
        for name in (
            *("etc/ssh/ssh_host_ed25519_key", "etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/other.pem"),
            *("var/lib/rabbitmq/.erlang.cookie", "var/lib/systemd/credential.secret"),
        )
    ]
    for one in (
        *made,
        tmp_path / "root/etc/systemd/system/x",
        tmp_path / "bin" / "x",
        tmp_path / "root/var/lib/dbus/x",
    ):
        one.parent.mkdir(parents=True, exist_ok=True)
        one.touch()
    (tmp_path / "root/etc/ssl/certs/0.0").symlink_to("ssl-cert-snakeoil.pem")
    (tmp_path / "root/etc/ssl/certs/1.0").symlink_to("other.pem")
    for name in ("passwd", "sync"):
        # These would change the machine of the test.
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    text = re.sub(
        r"(?<= )/(?=(?:etc|var|root|home)/)", f"{tmp_path}/root/", render_script(root_files.__package__, "clean")
    )
    assert not re.search(rf"(?<= )/(?!dev/null|{str(tmp_path)[1:]}/)", text), "a path of the machine of the test"
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    subprocess.run(["sh"], input=text, text=True, check=True, env={"PATH": path})
    assert [one.name for one in made if one.exists()] == ["other.pem"]
    assert {one.name for one in (tmp_path / "root/etc/ssl/certs").iterdir()} == {"other.pem", "1.0"}
    assert (tmp_path / "root/etc/machine-id").read_text() == ""


def test_what_is_there_is_not_replaced_and_no_login_goes_into_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="it exists already"):
        root_files.check_output(tmp_path, RootBase())
    with pytest.raises(UsageError, match="it does not exist"):
        root_files.check_output(tmp_path / "image", RootBase(tmp_path / "none"))
    with pytest.raises(UsageError, match="it is no file"):
        root_files.check_output(tmp_path / "image", RootBase(keyring=tmp_path / "none.gpg"))
    with pytest.raises(UsageError, match="has a login") as refused:
        root_files.check_output(tmp_path / "image", RootBase(mirror="http://me:secret@example.com/debian"))
    assert "secret" not in str(refused.value)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AirfleetError, match="takes root"):
        root_files.check_output(tmp_path / "image", RootBase())


def test_a_base_says_which_system_it_has(tmp_path: Path) -> None:
    release = tmp_path / "base" / "usr" / "lib" / "os-release"
    release.parent.mkdir(parents=True)
    release.write_text('NAME="Debian"\nID=debian\nVERSION_ID="13"\n')
    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        tar.add(tmp_path / "base", ".")
    with tarfile.open(tmp_path / "base.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "base" / "usr", "usr")
    for given in (tmp_path / "base", tmp_path / "base.tar", tmp_path / "base.tar.gz"):
        assert find_system(root_files.read_base(RootBase(given)), "it").name == "Debian 13"
    with pytest.raises(AirfleetError, match=r"rocky 9\.4 is not supported"):
        find_system(("rocky", "9.4"), "it")


def test_every_user_of_a_machine_reaches_its_root_folder_whatever_mask_the_build_had(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        tar.add(tmp_path / "etc", "etc")
    former = os.umask(0o077)
    try:
        root_files._make_base(DEBIAN, tmp_path / "root", RootBase(tmp_path / "base.tar"))
    finally:
        os.umask(former)
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o755


def test_the_packages_of_a_base_are_those_that_are_installed(tmp_path: Path) -> None:
    status = tmp_path / "var" / "lib" / "dpkg" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: sudo\nStatus: install ok installed\nDescription: a\n b: c\n\n"
        "Package: gone\nStatus: deinstall ok config-files\n"
    )
    assert list(root_files.list_installed(tmp_path)) == ["sudo"]


def test_the_commands_are_checked_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(MACHINES)
    done = invoke("image", "recipe", str(tmp_path), "--output", str(tmp_path))
    assert "it exists already" in str(done.exception)
    done = invoke("image", "recipe", str(tmp_path), "--output", str(tmp_path / "out"), "--system", "rocky 9")
    assert "rocky 9 is not supported" in str(done.exception)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--arch", "arm64", "arm64 is no architecture"),
        ("--arch", "", "an empty name is no architecture"),
        ("--system", "", "this system is not supported"),
    ],
)
def test_what_a_recipe_cannot_be_for_is_refused_in_its_own_words(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(MACHINES)
    done = invoke("image", "recipe", str(tmp_path), "--output", str(tmp_path / "out"), option, value)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
