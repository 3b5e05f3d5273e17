#!/usr/bin/env bash
# Three NATS servers and three nodes of Sterna on this machine. Ctrl-C ends them all.
set -euo pipefail

sterna=${STERNA:-sterna}
nats=${NATS_SERVER:-nats-server}
# Ports: nodes on 7001 to 7003, NATS for them on 4221 to 4223, NATS among themselves on 6221 to 6223.
base_sterna=7000 base_nats=4220 base_routes=6220

for program in "$sterna" "$nats"; do
  command -v "$program" >/dev/null || { echo "$program is not there: set STERNA or NATS_SERVER, or extend PATH" >&2; exit 1; }
done
folder=$(mktemp -d)
# Each is named by its own number when it is stopped.
children=()
stop() {
  kill "${children[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -r "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
routes="" urls=""
for n in 1 2 3; do
  routes+="\"nats://127.0.0.1:$((base_routes + n))\", "
  urls+="127.0.0.1:$((base_nats + n)),"
done
for n in 1 2 3; do
  cat >"$folder/nats-$n.conf" <<CONF
server_name: nats-$n
listen: "127.0.0.1:$((base_nats + n))"
authorization { user: sterna, password: "$password" }
cluster { name: example, listen: "127.0.0.1:$((base_routes + n))", routes: [$routes] }
CONF
  "$nats" -c "$folder/nats-$n.conf" >"$folder/nats-$n.log" 2>&1 &
  children+=($!)
done
for n in 1 2 3; do
  mkdir "$folder/node-$n"
  # The password is read from a file: arguments are seen by everybody on this machine.
  printf 'port %s\ndir "%s"\ncluster-url nats://%s\ncluster-name example\ncluster-user sterna\ncluster-password %s\nhttp-port %s\n' \
    $((base_sterna + n)) "$folder/node-$n" "${urls%,}" "$password" $((base_sterna + 1000 + n)) >"$folder/node-$n.conf"
  "$sterna" "$folder/node-$n.conf" >"$folder/node-$n.log" 2>&1 &
  children+=($!)
done

cat <<TEXT
Three nodes: redis://127.0.0.1:7001, :7002 and :7003. What to try:

  redis-cli -p 7001 subscribe news              in one terminal
  redis-cli -p 7002 publish news hello          in another: the first one shows it
  redis-cli -p 7003 pubsub numsub news          1: every node knows
  redis-cli -p 7001 info cluster                who is there, and what was carried
  curl -N 'localhost:8003/v1/events?channel=news'   a page's view, from the third node

  kill ${children[0]}       NATS server 1: nodes go on with the other two, and the subscription with them
  kill -9 ${children[4]}    node 2: its clients connect to another node, and nobody else waits

Logs are in $folder. Ctrl-C ends everything.
TEXT
# Children that are killed for a try don't end the others.
while true; do wait || true; sleep 1; done
