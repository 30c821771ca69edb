#!/bin/sh
# Serves a directory, by default this one, as the service web on a free port. "toska up" runs elsewhere.
exec toska run --name web --port 0 -- sh -c 'exec python3 -m http.server --bind 127.0.0.1 --directory "$1" "$PORT"' web "${1:-.}"
