#!/bin/sh
# Prints the path of versitygw, the S3 server of the tests; installs it first if it is missing.
set -eu
version=v1.8.0
bin="$(go env GOPATH 2>/dev/null || echo "$HOME/go")/bin/versitygw"
if [ ! -x "$bin" ]; then
    go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
fi
echo "$bin"
