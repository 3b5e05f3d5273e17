#!/usr/bin/env bash
# Three NATS servers and three nodes of Sterna on this machine, with TLS between all of them. Ctrl-C ends them all.
set -euo pipefail

sterna=${STERNA:-sterna}
nats=${NATS_SERVER:-nats-server}
# Ports: of the nodes, of HTTP at each, of NATS for them, of NATS among themselves, and where NATS tells how it is.
read -ra ports <<<"${PORTS:-7001 7002 7003}"
read -ra http_ports <<<"${HTTP_PORTS:-8001 8002 8003}"
read -ra nats_ports <<<"${NATS_PORTS:-4221 4222 4223}"
read -ra route_ports <<<"${ROUTE_PORTS:-6221 6222 6223}"
read -ra monitor_ports <<<"${MONITOR_PORTS:-8221 8222 8223}"

for program in "$sterna" "$nats" openssl; do
  command -v "$program" >/dev/null || { echo "$program is not there: set STERNA or NATS_SERVER, or extend PATH" >&2; exit 1; }
done
folder=$(mktemp -d)
chmod 700 "$folder"
# Each is named by its own number when it is stopped.
children=()
stop() {
  kill "${children[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -r "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM

secret() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# An authority, and what it signs: a certificate for the NATS servers and one for the nodes. Neither side talks to whoever has none.
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${new_key[@]}" -days 30 -subj '/CN=example authority' -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
for name in nats node; do
  openssl req "${new_key[@]}" -subj "/CN=$name" -keyout "$folder/$name.key" -out "$folder/$name.csr" 2>/dev/null
  printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >"$folder/names"
  openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 30 \
    -extfile "$folder/names" -out "$folder/$name.pem" 2>/dev/null
done

password=$(secret) route_password=$(secret) system_password=$(secret)
routes="" urls=""
for n in 0 1 2; do
  routes+="\"nats://routes:$route_password@127.0.0.1:${route_ports[n]}\", "
  urls+="127.0.0.1:${nats_ports[n]},"
done
stream=STERNA-example-0
for n in 0 1 2; do
  cat >"$folder/nats-$n.conf" <<CONF
server_name: nats-$n
listen: "127.0.0.1:${nats_ports[n]}"
http: "127.0.0.1:${monitor_ports[n]}"
tls { cert_file: "$folder/nats.pem", key_file: "$folder/nats.key", ca_file: "$folder/ca.pem", verify: true }
accounts {
  STERNA {
    jetstream: enabled
    users: [{
      user: sterna, password: "$password"
      permissions {
        publish: ["sterna.example.>", "\$JS.API.INFO", "\$JS.API.STREAM.CREATE.$stream", "\$JS.API.STREAM.INFO.$stream",
          "\$JS.API.STREAM.MSG.GET.$stream", "\$JS.API.DIRECT.GET.$stream", "\$JS.API.STREAM.PURGE.$stream"]
        subscribe: ["sterna.example.>", "_INBOX.>"]
      }
    }]
  }
  SYSTEM { users: [{ user: system, password: "$system_password" }] }
}
system_account: SYSTEM
jetstream { store_dir: "$folder/store-$n", sync_interval: always, max_file: 8G }
cluster {
  name: example, listen: "127.0.0.1:${route_ports[n]}", routes: [$routes]
  authorization { user: routes, password: "$route_password" }
  tls { cert_file: "$folder/nats.pem", key_file: "$folder/nats.key", ca_file: "$folder/ca.pem", verify: true }
}
CONF
  "$nats" -c "$folder/nats-$n.conf" >"$folder/nats-$n.log" 2>&1 &
  children+=($!)
done
for n in 0 1 2; do
  mkdir "$folder/node-$n"
  # The password is read from a file: arguments are seen by everybody on this machine.
  cat >"$folder/node-$n.conf" <<CONF
port ${ports[n]}
http-port ${http_ports[n]}
dir "$folder/node-$n"
appendonly yes
appendfsync always
cluster-url tls://${urls%,}
cluster-name example
cluster-keys yes
cluster-user sterna
cluster-password $password
cluster-tls-ca-cert-file "$folder/ca.pem"
cluster-tls-cert-file "$folder/node.pem"
cluster-tls-key-file "$folder/node.key"
CONF
done
# The log of all keys is made once, when the NATS servers have found each other.
tries=0
until "$sterna" cluster init "$folder/node-0.conf" >"$folder/init.log" 2>&1; do
  tries=$((tries + 1))
  ((tries < 120)) || { cat "$folder/init.log" >&2; exit 1; }
  sleep 0.5
done
for n in 0 1 2; do
  "$sterna" "$folder/node-$n.conf" >"$folder/node-$n.log" 2>&1 &
  children+=($!)
done

cat <<TEXT
Three nodes: redis://127.0.0.1:${ports[0]}, :${ports[1]} and :${ports[2]}. What to try:

  redis-cli -p ${ports[0]} subscribe news              in one terminal
  redis-cli -p ${ports[1]} publish news hello          in another: the first one shows it
  redis-cli -p ${ports[1]} xadd orders '*' n 1         any node takes any command,
  redis-cli -p ${ports[2]} xrange orders - +           and all have the same keys
  redis-cli -p ${ports[2]} cluster nodes               the node that leads, and its replicas
  redis-cli -p ${ports[0]} info cluster                who is there, and what was carried
  curl -N 'localhost:${http_ports[2]}/v1/events?channel=news'   a page's view, from the third node
  $sterna cluster status $folder/node-0.conf     the log, as NATS has it

  kill ${children[0]}       NATS server 1: the other two go on, and lose nothing
  kill -9 ${children[3]}    node 1: if it leads, another does within some seconds, and what was acknowledged is there

Logs and certificates are in $folder. Ctrl-C ends everything.
TEXT
# Children that are killed for a try don't end the others.
while true; do wait || true; sleep 1; done
