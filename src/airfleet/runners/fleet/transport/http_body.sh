#!/bin/bash
cat <&3
