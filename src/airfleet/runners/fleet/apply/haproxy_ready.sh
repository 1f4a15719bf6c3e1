#!/bin/sh
talk "$READY"
