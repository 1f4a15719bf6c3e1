#!/bin/bash
tool ping || exit "$STRANGE"
tool check_if_node_is_quorum_critical || exit "$NEEDED"
