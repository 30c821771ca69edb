#!/bin/sh
# Starts a gateway for the race against other proxies, in the foreground:
#
#   gateway.sh HTTP-PORT HTTPS-PORT DIR CERT KEY ENDPOINT ENDPOINT
#
# Both endpoints are registered as one service "bench", which with the prefix "/" takes every path
# below /bench. The binary is $TOSKA, or built. BENCH_FEATURES=log writes the access log to DIR.
set -eu
http=$1 https=$2 dir=$3 cert=$4 key=$5 b1=$6 b2=$7
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${TOSKA:-}" ]; then
  TOSKA=$dir/toska
  (cd "$root" && go build -o "$TOSKA" ./cmd/toska)
fi
log=off
[ "${BENCH_FEATURES:-off}" = off ] || log=$dir/access.log
export GATEWAY_ROUTE_PREFIX=/ XDG_RUNTIME_DIR="$dir" XDG_STATE_HOME="$dir"
rm -f "$dir/ready.json"
cat >"$dir/mesh.yaml" <<END
listeners:
  gateway-tls: {address: "127.0.0.1:$https", certificates: [{cert: "$cert", key: "$key"}]}
END
(
  until [ -s "$dir/ready.json" ]; do sleep 0.02; done
  for b in "$b1" "$b2"; do
    "$TOSKA" register --name bench --address "${b%:*}" --port "${b##*:}" >/dev/null
  done
) &
exec "$TOSKA" up --data "$dir/data" --config "$dir/mesh.yaml" --ready-file "$dir/ready.json" --access-log "$log" --log-level warn \
  --listen-gateway "127.0.0.1:$http" --listen-control 127.0.0.1:0 --listen-discovery 127.0.0.1:0
