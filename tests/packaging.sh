#!/usr/bin/env bash
# The Debian package, tried as an admin would under a real systemd: installed, started, reloaded, restarted, purged. Then
# once more with a filter that kills ronde for any system call which its unit takes from it.
#
#   tests/packaging.sh                # builds the package first, with packaging/deb.sh: minutes
#   tests/packaging.sh ronde.deb      # tries this one: one to two minutes, and more the first time
#
# Needs root, a Docker engine, debootstrap and lintian, and cargo-deb for the build. The last line says what was tried; what
# cannot be tried here is no failure, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

not_tried() {
    echo "the Debian package was NOT tried: $1"
    exit 0
}
for program in debootstrap lintian docker; do
    command -v "$program" >/dev/null || not_tried "$program is missing (apt install $program)"
done
docker info >/dev/null 2>&1 || not_tried "no Docker engine answers here"
[ "$(id -u)" = 0 ] || not_tried "debootstrap needs root"
if [ $# -eq 0 ]; then
    command -v cargo-deb >/dev/null || not_tried "cargo-deb is missing (cargo install --locked cargo-deb)"
    set -- "$(packaging/deb.sh)"
fi
deb=$(realpath "$1")

failed() {
    echo "packaging.sh: $1" >&2
    docker exec "$container" journalctl --no-pager -n 20 -u ronde >&2 || true
    exit 1
}

said=$(lintian --allow-root --fail-on error,warning "$deb" 2>&1) || { echo "$said" >&2; exit 1; }

# A Debian of its own, with systemd as process 1. The image is made once a machine.
image=ronde-systemd:bookworm
if ! docker image inspect "$image" >/dev/null 2>&1; then
    root=$(mktemp -d)
    packages=systemd,systemd-sysv,dbus,curl,man-db,bash-completion,python3,procps,openssl
    debootstrap --variant=minbase --include="$packages" bookworm "$root" >"${TMPDIR:-/tmp}/debootstrap.log" 2>&1 \
        || { tail -n 5 "${TMPDIR:-/tmp}/debootstrap.log" >&2; not_tried "debootstrap fails"; }
    tar -C "$root" -c . | docker import - "$image" >/dev/null
    rm -rf "$root"
fi
container=$(docker run --detach --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --tmpfs /run --tmpfs /run/lock --volume /sys/fs/cgroup:/sys/fs/cgroup:rw --env container=docker "$image" /sbin/init)
trap 'docker rm --force "$container" >/dev/null' EXIT
in_it() { docker exec "$container" "$@"; }
shell() { docker exec --interactive "$container" bash -euo pipefail -c "$1" || failed "$2"; }
eventually() { # seconds, what; then a command that has to succeed
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || failed "$what"
        sleep 0.1
    done
}
is_up() { in_it systemctl is-system-running | grep -Eq 'running|degraded'; }
eventually 30 "systemd does not start" is_up
# As on a machine, where systemd does it itself: or no service would see the credentials that it is handed.
in_it mount --make-rshared /

# An application: what it is asked for comes back, and a tunnel echoes.
docker exec --interactive "$container" sh -c 'cat >/root/application.py' <<'PYTHON'
import http.server, socketserver, time
class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Upgrade"):
            self.connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := self.connection.recv(4096):
                self.connection.sendall(data)
            self.close_connection = True
            return
        if self.path == "/late":
            open("/run/late-has-begun", "w").close()
            time.sleep(4)
        self.answer(b"x" * 30_000_000 if self.path == "/large" else b"application\n")
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = 512
Server(("127.0.0.1", 8000), Application).serve_forever()
PYTHON
docker exec --detach "$container" python3 /root/application.py
eventually 30 "the application does not start" in_it curl --silent --fail http://127.0.0.1:8000/
docker cp "$deb" "$container:/root/ronde.deb" >/dev/null

# --- Installed: everything is there, and nothing runs ---------------------------------------------
shell 'dpkg -i /root/ronde.deb >/dev/null' "dpkg -i"
shell '! systemctl is-active ronde && ! systemctl is-enabled ronde' "it runs without having been started" >/dev/null
shell '[ -z "$(systemd-analyze verify ronde.service ronde.socket 2>&1)" ]' "systemd does not like the units"
shell 'man ronde | grep -e --listen >/dev/null && man ronde.toml | grep max-connections >/dev/null' "the man pages"
shell 'source /usr/share/bash-completion/bash_completion; _completion_loader ronde || true; complete -p ronde' \
    "bash finds no completions" >/dev/null
shell 'ronde check --config /etc/ronde/ronde.toml' "the packaged file" >/dev/null

# --- Started, reloaded, upgraded ------------------------------------------------------------------
main_pid() { in_it systemctl show --property MainPID --value ronde; }
shell 'systemctl enable --now ronde 2>/dev/null' "it does not start"
shell '[ "$(curl --silent --show-error http://127.0.0.1:8080/)" = application ]' "no answer"
shell 'grep -q "^Seccomp:.2" /proc/$(systemctl show -p MainPID --value ronde)/status' "no filter is on"
pid=$(main_pid)
shell 'echo nonsense >>/etc/ronde/ronde.toml; ! systemctl reload ronde 2>/dev/null' "a reload takes nonsense"
shell 'journalctl -u ronde | grep "ronde.toml:.*key with no value" >/dev/null' "a failed reload does not say why"
shell 'sed -i /nonsense/d /etc/ronde/ronde.toml; systemctl reload ronde' "a reload fails"
[ "$(main_pid)" = "$pid" ] || failed "a reload is a restart"
shell 'dpkg -i /root/ronde.deb >/dev/null' "an upgrade"
[ "$(main_pid)" != "$pid" ] || failed "an upgrade leaves the old ronde running"
shell '[ "$(curl --silent --show-error http://127.0.0.1:8080/)" = application ]' "no answer after an upgrade"
# A grace that is longer than the unit's own timeout: what is under way is finished, and ronde is not killed.
shell 'mkdir -p /run/systemd/system/ronde.service.d
    printf "[Service]\nTimeoutStopSec=1\n" >/run/systemd/system/ronde.service.d/short.conf
    systemctl daemon-reload; curl --silent --fail http://127.0.0.1:8080/late >/run/late & request=$!
    until [ -e /run/late-has-begun ]; do kill -0 $request; sleep 0.05; done
    systemctl stop ronde; wait $request; [ "$(cat /run/late)" = application ]
    [ "$(systemctl show --property Result --value ronde)" = success ]
    rm -r /run/systemd/system/ronde.service.d; systemctl daemon-reload' "systemd cuts a long grace"
# Invalid settings are no crash, which another start could mend.
shell 'echo nonsense >>/etc/ronde/ronde.toml; systemctl start ronde 2>/dev/null && exit 1
    [ "$(systemctl show --property ActiveState --value ronde)" = failed ]
    sed -i /nonsense/d /etc/ronde/ronde.toml; systemctl reset-failed ronde' "invalid settings are tried again and again"
shell 'systemctl disable --now ronde 2>/dev/null' "it does not stop"

# --- Sockets of systemd: neither a restart nor an upgrade under load refuses anybody --------------
# The machine of a test may be too busy for a worker within a second; that is another promise.
shell 'sed -i "1i queue-timeout = \"30s\"" /etc/ronde/ronde.toml; systemctl start ronde.socket' "the socket"
shell '[ "$(curl --silent --show-error http://127.0.0.1:8080/)" = application ]' "the socket starts no ronde"
shell 'touch /run/loading; (while [ -e /run/loading ]; do curl --silent --fail --output /dev/null http://127.0.0.1:8080/ \
        || echo failed; done) >/run/failures 2>&1 & echo $! >/run/loader
    for _ in 1 2 3; do systemctl restart ronde; done; dpkg -i /root/ronde.deb >/dev/null
    rm /run/loading; wait; [ ! -s /run/failures ]' "a restart or an upgrade refuses clients"
shell 'systemctl stop ronde.socket ronde' "the socket does not stop"

# --- With a filter that kills: none of the refused calls is made, whatever ronde is asked to do ---
shell 'mkdir -p /etc/systemd/system/ronde.service.d /root/tls
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout /root/tls/key.pem -out /root/tls/chain.pem 2>/dev/null
    chmod 600 /root/tls/key.pem
    printf "%s\n" "[Service]" SystemCallErrorNumber=kill \
        LoadCredential=certificate:/root/tls/chain.pem LoadCredential=key:/root/tls/key.pem \
        ExecReload= "ExecReload=kill -HUP \$MAINPID" \
        >/etc/systemd/system/ronde.service.d/test.conf
    cat >/etc/ronde/ronde.toml' "the strict unit" <<'TOML'
listen = [":80", "unix:/run/ronde/ronde.sock"]
listen-mode = "666"
access-log-file = "/run/ronde/access.log"
tls-listen = ":443"
health-path = "/"
health-interval = "100ms"
backend = "localhost:8000"
tls-certificate = "/run/credentials/ronde.service/certificate"
tls-key = "/run/credentials/ronde.service/key"
[[route]]
path = "/unix"
backend = "unix:/run/nobody.sock"
TOML
shell 'systemctl daemon-reload; systemctl start ronde' "it does not start under a filter that kills"
pid=$(main_pid)
shell 'fetch() { curl --silent --show-error --fail --cacert /root/tls/chain.pem "$@"; }
    [ "$(fetch http://localhost/)" = application ]
    [ "$(fetch https://localhost/)" = application ]
    [ "$(fetch --unix-socket /run/ronde/ronde.sock http://localhost/)" = application ]
    [ "$(fetch http://localhost/large | wc -c)" = 30000000 ]
    [ "$(fetch https://localhost/large | wc -c)" = 30000000 ]
    [ "$(head -c 1000000 /dev/zero | fetch --data-binary @- http://localhost/ | wc -c)" = 1000000 ]
    ! fetch --limit-rate 1M http://localhost/large --max-time 2 --output /dev/null 2>/dev/null
    ! fetch http://localhost/unix 2>/dev/null' "an answer under a filter that kills"
shell 'python3 - <<END
import socket
tunnel = socket.create_connection(("localhost", 80))
tunnel.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head:
    head += tunnel.recv(1)
assert b" 101 " in head, head
tunnel.sendall(b"hello")
assert tunnel.recv(5) == b"hello"
END
    seq 400 | xargs -P 100 -I N curl --silent --fail --output /dev/null "http://localhost/?N"' "a tunnel, or many clients, under a filter that kills"
shell 'systemctl reload ronde; systemctl kill --signal USR1 ronde; ronde health --config /etc/ronde/ronde.toml' \
    "signals under a filter that kills" >/dev/null
[ "$(main_pid)" = "$pid" ] || failed "ronde died under a filter that kills"
shell 'systemctl stop ronde; [ "$(systemctl show --property Result --value ronde)" = success ]' "it was killed at its end"
shell '! journalctl | grep status=31/SYS' "a refused call was made"
# And the filter does kill: the one call of which the docs warn.
shell 'printf "[Service]\nEnvironment=RONDE_SCHEDULING=batch\nRestart=no\n" >/etc/systemd/system/ronde.service.d/wrong.conf
    systemctl daemon-reload; ! systemctl start ronde 2>/dev/null
    journalctl -u ronde | grep status=31/SYS >/dev/null' "the filter does not kill"

# --- Purged: nothing is left ----------------------------------------------------------------------
shell 'printf "[Service]\nLogsDirectory=ronde\n" >/etc/systemd/system/ronde.service.d/test.conf
    rm /etc/systemd/system/ronde.service.d/wrong.conf; systemctl daemon-reload
    printf "access-log-file = \"/var/log/ronde/access.log\"\nbackend = \"127.0.0.1:8000\"\n" >/etc/ronde/ronde.toml
    systemctl start ronde; [ -e /var/log/ronde/access.log ]' "log files"
shell 'systemctl enable ronde ronde.socket 2>/dev/null; rm -r /etc/systemd/system/ronde.service.d
    systemctl daemon-reload; dpkg --purge ronde >/dev/null 2>&1' "purge"
# man-db keeps what it has formatted.
left=$(in_it find / -xdev -name '*ronde*' -not -path '/root/*' -not -path '/var/cache/man/*')
[ -z "$left" ] || failed "purge leaves $left"
echo "the Debian package: ok under a real systemd"
