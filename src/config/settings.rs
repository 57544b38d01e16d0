//! The settings, a row each.
//!
//! The problem: a default without a reason is a guess that nobody dares to change. So each row says what its setting is, and
//! why the default is what it is; the help shows the first, the README both.
//!
//! Not here: what becomes of a row (`table`).

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::access::{Clients, clients};
use super::address::{Listen, Network, listen, network};
use super::admin::admin_host;
use super::backend::{Backend, backend};
use super::check::{Statuses, host, path, statuses};
use super::entry::{self, Entry, PairTable};
use super::error::Error;
use super::fields::{FieldLines, FieldName, SetField, field, name};
use super::log_file::log_file;
use super::retired::{RETIRED, Retired};
use super::route::{Route, Routes, route};
use super::setting::{Scope, Setting, Source};
use super::table::settings;
use super::tls::{hsts, pem_file};
use super::unix::mode;
use super::value::{AccessLog, Balance, Explain, Scheduling};
use super::value::{
    Arity, Each, Maybe, One, Series, access_log, balance, count, explain, level, scheduling, size, switch,
    time,
};

// Bounds exclude values that can only be mistakes. A time under 10ms is shorter than a scheduler or a network needs,
// and would fail every request. A time over a day means "never", and waits without an end are how workers starve. (A
// tunnel holds no worker, so it may be silent for a week.)
settings! {
    "Listening" {
        /// where to accept; :8080 is everywhere
        /// Loopback, because no proxy should be on the internet by accident. A Unix socket is `unix:/run/ronde.sock`;
        /// its file is removed at the end, and one that a crash left behind is replaced.
        "--listen" "ADDR", default "127.0.0.1:8080"
            => listen: Vec<Listen> = Each(listen);

        /// where to accept with TLS, beside --listen
        /// None: it needs a certificate. TLS 1.2 and 1.3, and HTTP/1.1 inside; :443 is everywhere.
        "--tls-listen" "ADDR", default ""
            => tls_listen: Vec<Listen> = Each(listen);

        /// permissions of the Unix sockets that it listens on
        /// A client has to be allowed to write. With 660 the user and the group of ronde are; 666 lets everybody in that
        /// reaches the directory.
        "--listen-mode" "MODE", default "660"
            => listen_mode: u32 = One(mode);

        /// listeners behind a proxy that sends its header
        /// None. The PROXY protocol (v1 and v2) names the client where a proxy passes on TCP as it is. A connection without
        /// its header is closed, and so is one that is from no --trust-proxy: anybody can write a header.
        "--proxy-protocol" "ADDR", default ""
            => proxy_protocol: Vec<Listen> = Each(listen);

        /// listen on addresses that do not exist yet
        /// Off: a missing address is nearly always a typing error. On, ronde can start before its network is up, and can
        /// wait for an address that moves between machines (IP_FREEBIND).
        "--freebind" "", default "false"
            => freebind: bool = One(switch);

        /// clients at once; then the idlest is closed
        /// With a backend connection each they need 65536 descriptors, within the hard limits of systemd and Docker.
        "--max-connections" "N", default "32768" ["1" to "1048576"]
            => max_connections: usize = One(count);

        /// connections of one client; then 429
        /// Unlimited: many people may share one address, and a browser opens six connections. An IPv6 client counts by its
        /// /64. Loopback, Unix sockets and --trust-proxy are exempt.
        "--max-per-client" "N", default "unlimited" ["1" to "1048576"]
            => max_per_client: Option<usize> = Maybe(count);

        /// the admin listener: page, status, drain, reload
        /// Off: it shows everything. 127.0.0.1:9180 is for this host; `unix:/run/ronde/admin.sock` is for ronde's own user
        /// (mode 600). What other machines reach needs --admin-allow. `ronde status` and its like ask there.
        "--admin" "ADDR", default "off"
            => admin: Option<Listen> = Maybe(listen);

        /// other machines that may read it
        /// None: only this host may. A range that a monitoring system is in, not the internet: there is no password.
        "--admin-allow" "CIDR", default ""
            => admin_allow: Vec<Network> = Each(network);

        /// let these change things as well
        /// Off: a machine that reads the metrics has no reason to drain a backend.
        "--admin-allow-changes" "", default "false"
            => admin_allow_changes: bool = One(switch);

        /// names it may be asked by; addresses always
        /// None but localhost: a page that has its own name resolve to this host could ask in its visitor's name (DNS
        /// rebinding). Prometheus needs it where it scrapes `ronde:9180`.
        "--admin-host" "NAME", default ""
            => admin_host: Vec<String> = Each(admin_host);
    }

    "TLS" {
        /// a chain in PEM, its own certificate first
        /// None: only the admin can have one. Several are `[[tls]]` tables of the file, with `certificate` and `key`; which
        /// one a client is shown, its names say. A renewed file is taken within a minute, or at once after a SIGHUP.
        "--tls-certificate" "FILE", default ""
            => tls_certificate: Vec<PathBuf> = Series(pem_file);

        /// its private key in PEM, not encrypted
        /// None. A key with a passphrase would need a person at every start.
        "--tls-key" "FILE", default ""
            => tls_key: Vec<PathBuf> = Series(pem_file);

        /// answer plain requests with 308 to https
        /// Off: it needs a certificate that every client believes. On, nothing else is served without TLS but
        /// --acme-challenge.
        "--redirect-to-https" "", default "false"
            => redirect_to_https: bool = One(switch);

        /// where a certificate's issuer finds its proof
        /// None. A plain request for a path below /.well-known/acme-challenge/ goes to this server and not to a route; it
        /// may run for the minute of a renewal alone.
        "--acme-challenge" "HOST:PORT", default "off"
            => acme_challenge: Option<Backend> = Maybe(backend);

        /// Strict-Transport-Security of what goes over TLS
        /// Off: a browser that has read it refuses plain HTTP for as long as it says, and nothing takes that back. Begin with
        /// max-age=300. A backend's own field is left as it is.
        "--hsts" "VALUE", per Route, default "off"
            => hsts: Option<String> = Maybe(hsts);

        /// issuers that https:// backends are checked by
        /// Those that the system trusts. A file with certificates in PEM stands for them: of a private issuer, or a backend's
        /// own that vouches for itself.
        "--backend-ca" "FILE", per Route, default "system"
            => backend_ca: Option<PathBuf> = Maybe(pem_file);

        /// check no certificate of a backend
        /// Off: whatever answers in the backend's place could read and change everything. On, a warning says so at each
        /// start.
        "--backend-tls-insecure" "", per Route, default "false"
            => backend_tls_insecure: bool = One(switch);
    }

    "Workers" {
        /// threads; auto: 3 per core, at least 4
        /// What waits is parked, and takes no thread; a second and a third one keep a core busy while the first waits for
        /// a moment. More only take turns, and a client waits for those that have their request and not the core.
        // A thread takes about four memory maps, of which Linux allows a process 65,530 (vm.max_map_count): a quarter of
        // them is for workers. With 16,384 the start panicked.
        "--workers" "N", default "auto" ["1" to "4096"]
            => workers: Option<usize> = Maybe(count);

        /// of all threads: batch, or inherit to ask for nothing
        /// Under SCHED_BATCH workers do not preempt each other on wake-up: 15 to 20 % more requests. A system that refuses
        /// it makes ronde only slower; inherit is for a filter that kills for asking.
        "--scheduling" "POLICY", default "batch"
            => scheduling: Scheduling = One(scheduling);

        /// new connections that may wait for a worker
        /// As many as the kernel holds in front of it; it bounds memory only, for --queue-timeout ends the wait long
        /// before.
        "--queue" "N", default "4096" ["1" to "1048576"]
            => queue: usize = One(count);

        /// how long one may wait; then 503 with Retry-After
        /// So long a request waits, too, when every backend is at its max-connections. Past a second people reload, and
        /// a longer queue serves only clients that have left.
        "--queue-timeout" "TIME", default "1s" ["10ms" to "1h"]
            => queue_timeout: Duration = One(time);

        /// memory for all that is parked
        /// Ten thousand slow downloads at 16 KB each, and some. Past it the parked slow client that is next to time
        /// out gives way, with its cause in the log.
        "--parked-memory" "SIZE", default "256m" ["1m" to "1t"]
            => parked_memory: usize = One(size);
    }

    "Timeouts" {
        /// to receive a whole request head; then 408
        /// Enough for a phone in a tunnel. It does not restart at each byte, so a slowloris attack gets no more.
        "--head-timeout" "TIME", default "10s" ["10ms" to "24h"]
            => head_timeout: Duration = One(time);

        /// between two reads of a request body
        /// A radio link recovers within it; a body that trickles just fast enough for it fails --min-rate.
        "--body-timeout" "TIME", default "30s" ["10ms" to "24h"]
            => body_timeout: Duration = One(time);

        /// an idle client, between two requests
        /// An idle client costs a descriptor and no worker; a new connection would cost the client a round trip.
        "--keep-alive-timeout" "TIME", default "60s" ["10ms" to "24h"]
            => keep_alive_timeout: Duration = One(time);

        /// to connect to a backend
        /// Enough for one lost SYN, which the kernel sends again after a second.
        "--connect-timeout" "TIME", default "3s" ["10ms" to "2m"]
            => connect_timeout: Duration = One(time);

        /// from request sent to response head; then 504
        /// The same as nginx's, so most applications already live with it.
        "--response-timeout" "TIME", per Route, default "60s" ["10ms" to "24h"]
            => response_timeout: Duration = One(time);

        /// silence within a response
        /// Servers of event streams commonly send a comment every 15 or 30 seconds.
        "--idle-timeout" "TIME", per Route, default "60s" ["10ms" to "24h"]
            => idle_timeout: Duration = One(time);

        /// a backend's silence after its client's FIN
        /// Enough for an ordinary answer (`nc -N`); a closed tab is not served for minutes. Such a client is last in a queue.
        "--half-close-timeout" "TIME", default "5s" ["10ms" to "24h"]
            => half_close_timeout: Duration = One(time);

        /// silence in both directions of a tunnel
        /// A WebSocket may be silent for long on purpose; TCP keep-alive finds a dead peer, on either side, within 7 minutes.
        "--tunnel-timeout" "TIME", default "1h" ["10ms" to "168h"]
            => tunnel_timeout: Duration = One(time);

        /// an idle connection to a backend
        /// Below the 5s after which Node closes: ronde closes first, and so sends no request into a closing socket.
        "--backend-keep-alive-timeout" "TIME", default "4s" ["10ms" to "24h"]
            => backend_keep_alive_timeout: Duration = One(time);

        /// for requests in flight at shutdown
        /// Docker kills after 10s: the requests cut at the end of the grace need a second to end, and the log one.
        "--shutdown-grace" "TIME", default "8s" ["0s" to "24h"]
            => shutdown_grace: Duration = One(time);
    }

    "Limits" {
        /// a request or response head
        /// Twice nginx's limit, for large cookies. Each busy worker holds one, so a megabyte is the most.
        "--max-head" "SIZE", default "64k" ["1k" to "1m"]
            => max_head: usize = One(size);

        /// a request body; then 413
        /// Bodies stream in constant memory, so the application knows better which size is too large for it.
        "--max-body" "SIZE", per Route, default "unlimited" ["0" to "1024t"]
            => max_body: Option<u64> = Maybe(size);

        /// least bytes a second of an upload; 0: off
        /// A bad radio link is faster; a client that sends a byte at a time to hold its connection is not.
        "--min-rate" "SIZE", default "500" ["0" to "1g"]
            => min_rate: u64 = One(size);
    }

    "Access" {
        /// clients that may come in: ranges, unix:, all, none
        /// Empty: everybody. Of a list, every other client gets 403, and so does one without an address. Where any route has a
        /// list, a path that a backend could read as another path is 400 on all routes.
        "--allow" "CIDR", per Route, default ""
            => allow: Vec<Clients> = Each(clients);

        /// clients that may not, even if they are allowed
        /// Empty: nobody. It wins over --allow, so that an address can be taken out of a range.
        "--deny" "CIDR", per Route, default ""
            => deny: Vec<Clients> = Each(clients);
    }

    "Backends and health" {
        /// a server to proxy to, like an argument without a flag
        /// None: only the admin can know. One on a Unix socket is `unix:/run/app.sock`, one with TLS `https://app:8443`.
        "--backend" "HOST:PORT", per Route, default ""
            => backend: Vec<Backend> = Each(backend);

        /// requests that go elsewhere, as HOST/PATH=HOST:PORT
        /// None: every request goes to the backends. The most specific wins: a host before *.host before any host, then
        /// the longest path. `;` divides routes in the variable.
        "--route" "ROUTE", default ""
            => route: Vec<Route> = Routes(route);

        /// round-robin, least-connections or client-address
        /// By turns, which is exact and needs no knowledge of the requests. least-connections suits answers of very
        /// different length; client-address keeps a client at its backend while that is in the round.
        "--balance" "HOW", per Route, default "round-robin"
            => balance: Balance = One(balance);

        /// failures in a row that take one out; 0: never
        /// One failure is chance, three in a row are not. A response that breaks off is a failure; a complete one ends
        /// the row.
        "--max-fails" "N", per Route, default "3" ["0" to "1000"]
            => max_fails: u32 = One(count);

        /// how long such a row may last, and one is out
        /// Most restarts are over by then, and a trial costs one request in ten seconds.
        "--fail-timeout" "TIME", per Route, default "10s" ["10ms" to "24h"]
            => fail_timeout: Duration = One(time);

        /// statuses that count as no answer: the next is asked
        /// None: most errors are meant for the client. An idempotent request whose body is in hand goes on to a backend that
        /// is well; where none is left, or the retries are used up, the answer goes to the client. Each of 500 to 599 is a
        /// failure for --max-fails.
        "--retry-status" "STATUS", per Route, default "" ["400" to "599"]
            => retry_status: Vec<Statuses> = Each(statuses);

        /// path of the active health check
        /// Off, because no path is right for every application.
        "--health-path" "PATH", per Route, default "off"
            => health_path: Option<String> = Maybe(path);

        /// Host of the check; auto: of the backend
        /// Its name and port are what a client without a proxy would send. An application that serves only the names it
        /// is known by needs one of these.
        "--health-host" "HOST", per Route, default "auto"
            => health_host: Option<String> = Maybe(host);

        /// statuses that count as well
        /// A redirect, such as one to a login, comes from an application that works. A 401 comes as often from
        /// something in front of it, and a 404 from a path that is wrong.
        "--health-status" "STATUS", per Route, default "200-399" ["200" to "599"]
            => health_status: Vec<Statuses> = Each(statuses);

        /// for a check; auto: 2s, the interval at most
        /// A backend that takes longer to say that it is well is not. A check ends before the next one begins.
        "--health-timeout" "TIME", per Route, default "auto" ["10ms" to "1m"]
            => health_timeout: Option<Duration> = Maybe(time);

        /// between two checks; auto: 5s with a path
        /// Given without a path, it has each backend connected to, and no more.
        /// At 5s, two good checks show a return and three bad ones a failure within a quarter of a minute.
        "--health-interval" "TIME", per Route, default "auto" ["100ms" to "24h"]
            => health_interval: Option<Duration> = Maybe(time);

        /// good checks in a row that bring one back
        /// A single one may be luck in the middle of a restart.
        "--health-rise" "N", per Route, default "2" ["1" to "100"]
            => health_rise: u32 = One(count);

        /// bad checks in a row that take one out
        /// More than to bring one back: to lose a good backend costs more than to wait for it.
        "--health-fall" "N", per Route, default "3" ["1" to "100"]
            => health_fall: u32 = One(count);

        /// between two look-ups of a backend's name
        /// Containers get new addresses when they restart, and Docker's resolver answers from memory.
        "--resolve-interval" "TIME", default "5s" ["100ms" to "24h"]
            => resolve_interval: Duration = One(time);

        /// until "no such name" takes the addresses out
        /// Another service may have them by then. Three look-ups must agree, since a name server that has just started
        /// denies names that exist; one that is silent or fails takes nothing out.
        "--resolve-hold" "TIME", default "3s" ["0s" to "24h"]
            => resolve_hold: Duration = One(time);
    }

    "Proxying" {
        /// proxies whose X-Forwarded-* and Forwarded are believed
        /// None: any client can send these fields, so what they say may be forged. Behind a TLS terminator it is needed,
        /// or the application is told http. `unix:` stands for the clients of ronde's Unix sockets.
        "--trust-proxy" "CIDR", default ""
            => trust_proxy: Vec<Network> = Each(network);

        /// leave Via out; CDN-Loop finds loops instead
        /// Off: RFC 9110 wants Via. But nginx as a backend compresses nothing for it (its gzip_proxied is off).
        "--no-via" "", default "false"
            => no_via: bool = One(switch);

        /// name the backend in the Proxy-Status of errors
        /// Off: internal addresses do not concern clients.
        "--reveal-backends" "", default "false"
            => reveal_backends: bool = One(switch);
    }

    "Header fields" {
        /// a field of every request, whatever was sent
        /// None. A value may have {client}, {host} and {scheme} in it, and {{ for a brace. In the file it is a table,
        /// in the variable a line for each field.
        "--set-request-header" "NAME:VALUE", per Route, default ""
            => set_request_header: Vec<SetField> = FieldLines(field);

        /// a field that no backend is sent
        /// None: what is unknown to ronde may be known to the application.
        "--remove-request-header" "NAME", per Route, default ""
            => remove_request_header: Vec<FieldName> = Each(name);

        /// a field of every response but ronde's errors
        /// None. As --set-request-header; for a redirect or a text of ronde, too.
        "--set-response-header" "NAME:VALUE", per Route, default ""
            => set_response_header: Vec<SetField> = FieldLines(field);

        /// a field that no client is sent
        /// None: an application knows best what its clients need.
        "--remove-response-header" "NAME", per Route, default ""
            => remove_response_header: Vec<FieldName> = Each(name);

        /// tell the client's address in X-Real-IP
        /// Off: X-Forwarded-For has it already, and a second field to believe is a second one to forge. On, whatever was
        /// sent in X-Real-IP is dropped, also from trusted proxies: one that does not write it passes a forged one on.
        "--real-ip" "", per Route, default "false"
            => real_ip: bool = One(switch);

        /// tell client, host and scheme in Forwarded
        /// Off: nearly every application reads X-Forwarded-* instead. On, ronde appends to what a trusted proxy sent (RFC
        /// 7239).
        "--forwarded" "", per Route, default "false"
            => forwarded: bool = One(switch);
    }

    "Logging" {
        /// a line per request: off, plain, combined or json
        /// On and readable: the first question after an incident is which client sent which request.
        "--access-log" "FORM", default "plain"
            => access_log: AccessLog = One(access_log);

        /// where these lines go: stdout, or a path
        /// A container's engine and systemd take them from there. A file is made with mode 640 and appended to; after a
        /// SIGUSR1 the path is opened again, as logrotate wants it.
        "--access-log-file" "FILE", default "stdout"
            => access_log_file: Option<PathBuf> = Maybe(log_file);

        /// the steps of every request; with =N, of the first N
        /// A line for every step, with its time, in the words of docs/tour. For people: it is the slowest log there is.
        "--explain" "", default "false"
            => explain: Explain = One(explain);

        /// of diagnostics: off, error, warn, info, debug or trace
        /// Info reports starts, stops and changes, but no single request.
        "--log-level" "LEVEL", default "info"
            => log_level: LevelFilter = One(level);

        /// where diagnostics go: stderr, or a path
        /// As --access-log-file. What is wrong with the settings themselves is on stderr in any case.
        "--log-file" "FILE", default "stderr"
            => log_file: Option<PathBuf> = Maybe(log_file);
    }
}
