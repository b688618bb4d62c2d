#!/usr/bin/env bash
# The image on a machine that cannot run containers, as root on Debian: the last stage of the Dockerfile on a base made
# here, with a binary that is already built in place of the compiled one, and the binary tried inside.
#   smoke-image.sh target/release/sluice
# Needs buildah, debootstrap and curl. KEEP=1 leaves the images in buildah's store; BASE=IMAGE spares making the base.
set -euo pipefail
binary=$(realpath "${1:?the path of a built sluice}")
here=$(cd "$(dirname "$0")" && pwd)
for tool in buildah debootstrap curl; do
  command -v "$tool" >/dev/null || { echo "smoke-image.sh needs $tool" >&2; exit 64; }
done
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
# Marks what this run made, so that it ends nothing else.
run=sluice-smoke-$$
work=$(mktemp -d)
containers=() images=() server=
tidy() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  for container in "${containers[@]}"; do buildah rm "$container" >/dev/null 2>&1 || true; done
  [ -n "${KEEP:-}" ] || for image in "${images[@]}"; do buildah rmi -f "$image" >/dev/null 2>&1 || true; done
  rm -rf "$work"
}
trap tidy EXIT
failures=0
check() { # what, then a command that must succeed
  if "${@:2}"; then echo "ok: $1"; else echo "FAILED: $1"; failures=$((failures + 1)); fi
}
since() { echo "$(($(date +%s) - $1)) s"; }

base=${BASE:-}
if [ -z "$base" ]; then
  started=$(date +%s)
  . /etc/os-release
  # The mirror that apt uses here.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $VERSION_CODENAME" | head -n 1)
  debootstrap --variant=minbase "$VERSION_CODENAME" "$work/root" "$mirror" >"$work/debootstrap.log" 2>&1 \
    || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
  # As slim images have it: none of what nobody reads.
  rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/var/log/* \
    "$work"/root/usr/share/{doc,man,locale,info}/*
  base=localhost/$run-base
  container=$(buildah from scratch)
  containers+=("$container")
  buildah copy -q "$container" "$work/root" / >/dev/null
  buildah config --cmd bash "$container"
  buildah commit -q "$container" "$base" >/dev/null
  images+=("$base")
  rm -rf "$work/root"
  echo "base image made in $(since "$started")"
fi

started=$(date +%s)
built=localhost/$run-built
container=$(buildah from scratch)
containers+=("$container")
buildah copy -q --chmod 0755 "$container" "$binary" /out/sluice >/dev/null
buildah commit -q "$container" "$built" >/dev/null
images+=("$built")
# The arguments before the first stage, and the last stage.
awk '/^FROM /{stage=""; seen=1} !seen&&/^ARG /{head=head $0 "\n"} seen{stage=stage $0 "\n"} END{printf "%s%s", head, stage}' \
  "$here/Dockerfile" | sed "s#--from=build #--from=$built #" >"$work/Dockerfile"
# The context holds what the last stage copies, and no more.
mkdir -p "$work/context/docker"
cp "$here/healthcheck" "$work/context/docker/"
image=localhost/$run
buildah build --format docker --network host --build-arg BASE_IMAGE="$base" -f "$work/Dockerfile" -t "$image" "$work/context" \
  >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; exit 1; }
images+=("$image")
echo "image built in $(since "$started")"
buildah images --format '{{.Name}} {{.Size}}' | grep "$run" || true

config() { buildah inspect --type image --format "{{.Docker.Config.$1}}" "$image"; }
check "the user is a number that is not root" [ "$(config User)" = 10001:10001 ]
check "it starts the server" [ "$(config Entrypoint) $(config Cmd)" = "[sluice] [serve]" ]
check "it has a health check" [ "$(config Healthcheck.Test)" = "[CMD sluice-healthcheck]" ]
check "no secret is in its environment" [ -z "$(config Env | grep -iE 'secret|password|key=' || true)" ]

container=$(buildah from "$image")
containers+=("$container")
# Ports of the machine itself: chroot isolation has no network of its own.
pg=15433 http=18787
inside() { buildah run --user 10001:10001 "$container" -- "$@"; }
check "it runs as uid 10001" [ "$(inside id -u)" = 10001 ]
check "the binary runs" inside sluice --version
check "its data folder is its own" inside sh -c 'touch /data/probe && rm /data/probe'
check "the binary cannot be replaced" inside sh -c '! touch /usr/local/bin/sluice 2>/dev/null'

started=$(date +%s)
buildah run --user 10001:10001 --env SLUICE_SERVER__LISTEN=127.0.0.1:$pg --env SLUICE_SERVER__DASHBOARD=127.0.0.1:$http \
  --env SLUICE_CLUSTER__LISTEN=127.0.0.1:0 "$container" -- sluice serve --memory 512MB >"$work/server.log" 2>&1 &
server=$!
answers() { curl -fsS --max-time 2 "http://127.0.0.1:$http/$1" 2>/dev/null; }
for _ in $(seq 100); do
  answers healthz >/dev/null && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
check "/healthz answers" [ "$(answers healthz)" = ok ]
check "/readyz answers" answers readyz
echo "up in $(since "$started")"
# The health check asks process 1 what it is, which in a chroot is the machine's own: not an executor, so it asks for HTTP.
check "the health check says that it is well" inside env SLUICE_HEALTH_PORT=$http sluice-healthcheck
check "the health check says when it is not" inside sh -c '! SLUICE_HEALTH_PORT=1 sluice-healthcheck 2>/dev/null'
# buildah starts it through processes of its own: the last of them is the server.
pid=$server
while child=$(pgrep -P "$pid" | head -n 1) && [ -n "$child" ]; do pid=$child; done
check "the server runs as uid 10001" [ "$(awk '/^Uid:/{print $2}' "/proc/${pid:-none}/status" 2>/dev/null)" = 10001 ]

if command -v psql >/dev/null; then
  ask() { psql -h 127.0.0.1 -p "$pg" -U postgres -d postgres -XAtqc "$1"; }
  check "a query is answered" [ "$(ask 'SELECT sum(n) FROM generate_series(1, 1000) AS t(n)')" = 500500 ]
  check "a table is written" ask 'CREATE TABLE smoke AS SELECT n FROM generate_series(1, 100000) AS t(n)'
  check "and read" [ "$(ask 'SELECT count(*), max(n) FROM smoke')" = "100000|100000" ]
else
  # SSLRequest: a server of the protocol answers with one letter.
  letter=$(exec 3<>/dev/tcp/127.0.0.1/$pg; printf '\0\0\0\10\4\322\26\57' >&3; head -c 1 <&3)
  check "the port speaks the Postgres protocol (no psql here, so no query was run)" [ "$letter" = N ]
fi

started=$(date +%s)
kill -TERM "$pid"
code=0
wait "$server" || code=$?
server=
check "told to end, it ends by itself ($(since "$started"))" [ "$code" = 0 ]
if ((failures)); then cat "$work/server.log" >&2; fi
echo "$failures failed"
exit $((failures > 0))
