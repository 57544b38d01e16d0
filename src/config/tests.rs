//! The settings from the outside: what a user types, the values that result, and the exact text of every error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::{any, prop_assert, proptest};

use super::{AccessLog, Action, Balance, Command, Config, Error, Loaded, Prefix, Route, TABLE, load};

fn os(words: &str) -> Vec<OsString> {
    words.split_whitespace().map(OsString::from).collect()
}

/// Loads the words of a command line; variables are `NAME=value`.
fn loaded(words: &str, env: &[&str]) -> Loaded {
    load(os(words), env.iter().filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.into(), v.into())))
}

fn try_load(words: &str, env: &[&str]) -> Result<Command, Error> {
    loaded(words, env).command
}

fn config(words: &str, env: &[&str]) -> Config {
    match try_load(words, env) {
        Ok(
            Command::Serve(config)
            | Command::Demo(config)
            | Command::Check(config, _)
            | Command::Health(config),
        ) => config,
        other => panic!("{words}: {other:?}"),
    }
}

fn error_of(words: &str, env: &[&str]) -> String {
    match try_load(words, env) {
        Err(error) => error.to_string(),
        Ok(command) => panic!("{words}: {command:?}"),
    }
}

/// A file of settings, gone when dropped.
struct Toml(PathBuf);

impl Toml {
    fn new(content: impl AsRef<[u8]>) -> Toml {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ronde-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Toml(path)
    }

    fn flag(&self) -> String {
        format!("--config {}", self.0.display())
    }
}

impl Drop for Toml {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The error for a file with this content, with `FILE` for its path.
fn file_error(content: impl AsRef<[u8]>) -> String {
    let file = Toml::new(content);
    error_of(&file.flag(), &[]).replace(&*file.0.to_string_lossy(), "FILE")
}

fn shown(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_of_the_table_are_valid() {
    let config = Config::default();
    assert_eq!(shown(&config.listen), ["127.0.0.1:8080"]);
    assert_eq!((config.workers, config.queue, config.max_head, config.min_rate), (None, 4096, 65536, 500));
    assert_eq!((config.parked_memory, config.max_body, config.health_interval), (256 << 20, None, None));
    assert_eq!(config.tunnel_timeout, Duration::from_secs(3600));
    assert_eq!((config.access_log, config.log_level), (AccessLog::Plain, log::LevelFilter::Info));
}

#[test]
fn every_bound_and_every_default_can_be_given() {
    for row in TABLE {
        for bound in row.bounds.iter().flat_map(|(least, most)| [least, most]) {
            config(&format!("health {} {bound}", row.flag), &[]);
            config("health", &[&format!("{}={bound}", row.variable())]);
            let file = Toml::new(format!("{} = \"{bound}\"", row.key()));
            config(&format!("health {}", file.flag()), &[]);
        }
        assert!(!row.why.is_empty() && !row.what.ends_with('.'), "{}", row.flag);
        // A default can be given as well, even one that is a word.
        if !row.default.is_empty() {
            assert_eq!(
                config("health", &[&format!("{}={}", row.variable(), row.default)]),
                Config::default()
            );
        }
    }
}

#[test]
fn settings_of_older_versions_are_ignored_with_a_note() {
    let file = Toml::new("max-transfers = 5\nmax-per-backend = \"auto\"\nqueue = 7");
    let words = format!("{} a:1 --max-transfers 5 --max-per-backend=3 --queue-timeout 2s", file.flag());
    let Loaded { command, notes } = loaded(&words, &["RONDE_MAX_TRANSFERS=9"]);
    let Ok(Command::Serve(config)) = command else { panic!("{command:?}") };
    assert_eq!((config.queue, config.queue_timeout), (7, Duration::from_secs(2)));
    let name = file.0.to_string_lossy();
    let places = [
        "--max-transfers".to_string(),
        "--max-per-backend".to_string(),
        "RONDE_MAX_TRANSFERS".to_string(),
        format!("max-transfers in {name}"),
        format!("max-per-backend in {name}"),
    ];
    for (note, place) in notes.iter().zip(&places) {
        assert!(note.starts_with(&format!("{place} is ignored: ")), "{note}");
    }
    assert_eq!(notes.len(), places.len());
}

#[test]
fn more_workers_than_any_machine_needs_are_remarked_upon() {
    let notes = |words| loaded(words, &[]).notes;
    assert_eq!(notes("a:1"), [""; 0]);
    assert_eq!(notes("a:1 --workers 1"), [""; 0]);
    let [note] = &notes("a:1 --workers 4096")[..] else { panic!("one note") };
    assert!(note.starts_with("--workers 4096 are many for "), "{note}");
}

#[cfg(feature = "tls")]
#[test]
fn a_redirect_to_a_port_that_is_not_listened_on_is_remarked_upon() {
    let notes = |flags: &str| loaded(&format!("a:1 --tls-certificate a --tls-key b {flags}"), &[]).notes;
    let there = "--redirect-to-https --tls-listen :443 --tls-listen :8443";
    for flags in [there, "--tls-listen :8443", "--redirect-to-https --tls-listen :8443 --trust-proxy ::1"] {
        assert_eq!(notes(flags), [""; 0], "{flags}");
    }
    let said = "--redirect-to-https sends clients to port 443, and no --tls-listen has it; see that something leads from \
                there to *:8443";
    assert_eq!(notes("--redirect-to-https --tls-listen :8443"), [said]);
}

#[test]
fn a_ronde_that_its_own_health_check_cannot_ask_is_remarked_upon() {
    let notes = |flags: &str| loaded(&format!("a:1 {flags}"), &[]).notes;
    for (flags, refused) in [
        ("--listen :80 --proxy-protocol :80 --trust-proxy 10.0.0.0/8", Some("127.0.0.1")),
        ("--listen [::]:80 --proxy-protocol [::]:80 --trust-proxy 10.0.0.0/8", Some("127.0.0.1")),
        ("--listen 10.0.0.5:80 --proxy-protocol 10.0.0.5:80 --trust-proxy 10.0.0.1", Some("10.0.0.5")),
        ("--listen 10.0.0.5:80 --proxy-protocol 10.0.0.5:80 --trust-proxy 10.0.0.0/8", None),
        ("--listen :80 --proxy-protocol :80 --trust-proxy 127.0.0.1", None),
        ("--listen :80 --listen :81 --proxy-protocol :80 --trust-proxy 10.0.0.0/8", None),
        ("--listen unix:/a --proxy-protocol unix:/a --trust-proxy unix:", None),
    ] {
        let expected = refused.map(|ip| {
            format!(
                "`ronde health` fails: each --listen has --proxy-protocol, and --trust-proxy does not have {ip}, from \
                 where it asks; add a --listen of this host without --proxy-protocol, or trust that address"
            )
        });
        assert_eq!(notes(flags), Vec::from_iter(expected), "{flags}");
    }
}

/// A name followed by nothing, or by more of one, is the whole name; a price is none.
#[test]
fn a_variable_of_nginx_is_remarked_upon() {
    for (words, remark) in [
        (
            "--set-request-header X-Real-IP:$remote_addr",
            "--set-request-header: $remote_addr in X-Real-IP is sent as it stands here; ronde has {client}, {host} and \
             {scheme}",
        ),
        (
            "--set-response-header X:{scheme}://a$.b$host$c",
            "--set-response-header: $host in X is sent as it stands here; ronde has {client}, {host} and {scheme}",
        ),
    ] {
        assert_eq!(loaded(&format!("a:1 {words}"), &[]).notes, [remark]);
    }
    for words in ["X:{host}", "X:$", "X:a$5", "X:$$"] {
        assert_eq!(loaded(&format!("a:1 --set-request-header {words}"), &[]).notes, [""; 0], "{words}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_redirect_to_the_routes_own_host_is_remarked_upon() {
    let notes = |content: &str| {
        let file = Toml::new(content);
        loaded(&file.flag(), &[]).notes
    };
    let tls = "tls-listen = ':443'\ntls-certificate = 'a'\ntls-key = 'b'\nbackend = 'a:1'\n";
    let route = "[[route]]\nhost = ['a.example', 'b.example']\nredirect = ";
    let said = "the route a.example,b.example redirects to its own host, in circles; for clients without TLS there is \
                --redirect-to-https";
    assert_eq!(notes(&format!("{tls}{route}'https://A.example'")), [said]);
    assert_eq!(notes(&format!("backend = 'a:1'\n{route}'http://a.example'")), [said]);
    assert_eq!(notes(&format!("{tls}{route}'https://a.example:8443'")), [""; 0]);
    // Another program may have TLS.
    assert_eq!(notes(&format!("backend = 'a:1'\n{route}'https://a.example'")), [""; 0]);
}

#[test]
fn settings_that_change_nothing_are_remarked_upon() {
    for (words, remark) in [
        ("--admin-allow 10.0.0.0/8", "--admin-allow changes nothing without --admin"),
        ("--admin-host a", "--admin-host changes nothing without --admin"),
        ("--admin-allow-changes", "--admin-allow-changes changes nothing without --admin"),
        ("--health-host a", "--health-host changes nothing without --health-path"),
        (
            "--listen-mode 666",
            "--listen-mode changes nothing without a Unix socket in --listen or --tls-listen",
        ),
        ("--health-status 401 --health-interval 1s", "--health-status changes nothing without --health-path"),
        (
            "--health-timeout 1s",
            "--health-timeout changes nothing without --health-path or --health-interval",
        ),
        (
            "--health-timeout 2s --health-interval 500ms",
            "--health-timeout 2s is longer than --health-interval 500ms: a check ends when the next one begins",
        ),
    ] {
        assert_eq!(loaded(&format!("a:1 {words}"), &[]).notes, [remark]);
    }
    let meant = "a:1 --health-path /up --health-host a --health-status 401 --health-timeout 5s";
    assert_eq!(loaded(meant, &[]).notes, [""; 0]);
    for socket in ["--listen unix:/run/a", "--listen :80 --tls-listen unix:/run/a --certificate /run/pem"] {
        let notes = loaded(&format!("a:1 --listen-mode 666 {socket}"), &[]).notes;
        assert!(notes.iter().all(|note| !note.contains("--listen-mode")), "{notes:?}");
    }
    let inherited = Toml::new(
        "health-host = 'a'\nhealth-status = 401\nhealth-timeout = '1s'\n[[route]]\npath = '/x'\nbackend = 'a:1'\n\
         health-path = '/up'",
    );
    assert_eq!(loaded(&inherited.flag(), &[]).notes, [""; 0]);
}

#[test]
fn statuses_are_a_list_in_each_source() {
    let file = Toml::new("health-status = [401, \"200-299\"]");
    for (words, env) in [
        (file.flag(), None),
        ("--health-status 401 --health-status=200-299".into(), None),
        (String::new(), Some("RONDE_HEALTH_STATUS=401,200-299")),
    ] {
        let config = config(&format!("health {words}"), env.as_slice());
        assert_eq!(shown(&config.health_status), ["401", "200-299"]);
    }
}

#[test]
fn a_route_inherits_the_statuses_to_retry_or_has_others_or_none() {
    let file = Toml::new(
        "retry-status = [502, 503]\nbackend = 'a:1'\n[[route]]\npath = '/x'\nbackend = 'b:1'\n\
         [[route]]\npath = '/y'\nbackend = 'c:1'\nretry-status = ['429', '500-599']\n\
         [[route]]\npath = '/z'\nbackend = 'd:1'\nretry-status = []",
    );
    let config = config(&file.flag(), &[]);
    let all: Vec<_> = config.route.iter().map(|route| shown(&route.config.retry_status)).collect();
    assert_eq!(all, [&["502", "503"][..], &["429", "500-599"], &[]]);
}

#[test]
fn commands() {
    let command = |words| try_load(words, &[]).unwrap();
    assert!(matches!(command("a:1"), Command::Serve(_)));
    assert!(matches!(command("demo --listen :0"), Command::Demo(_)));
    assert!(matches!(command("check a:1"), Command::Check(..)));
    assert!(matches!(command("health"), Command::Health(_)));
    assert!(matches!(command("--workers --help"), Command::Print(_)));
    assert!(matches!(command("check -h --nonsense"), Command::Print(_)));
    assert_eq!(command("-V"), Command::Version);
    assert_eq!(command("--version"), Command::Version);
}

/// They were taken for backends.
#[test]
fn words_that_other_programs_know() {
    let command = |words| try_load(words, &[]).unwrap();
    assert_eq!(command("serve a:1"), command("a:1"));
    assert!(matches!(command("help"), Command::Print(_)));
    assert!(matches!(command("help check"), Command::Print(_)));
    assert_eq!(command("version"), Command::Version);
    assert!(config("--reveal-backends true a:1", &[]).reveal_backends);
    assert!(!config("a:1 --reveal-backends false --queue 5", &[]).reveal_backends);
    assert!(config("--reveal-backends a:1", &[]).reveal_backends);
    let hint = error_of("chek a:1", &[]);
    assert!(hint.ends_with("; did you mean check?"), "{hint}");
}

#[test]
fn flags_in_both_forms_and_any_order() {
    let config =
        config("b:1 --backend=c:1 --workers=8 --backend a:1 --max-head 1k --reveal-backends [::1]:1", &[]);
    assert_eq!(shown(&config.backend), ["b:1", "c:1", "a:1", "[::1]:1"]);
    assert_eq!((config.workers, config.max_head, config.reveal_backends), (Some(8), 1024, true));
    assert!(!self::config("a:1 --reveal-backends=false", &["RONDE_REVEAL_BACKENDS=true"]).reveal_backends);
}

#[test]
fn the_stronger_source_wins() {
    let file = Toml::new(
        "workers = 1\nqueue = '1'\nmax-body = '1k'\nlisten = [':1', ':2']\n[[backend]]\naddress = 'file:1'",
    );
    let flag = file.flag();
    let only_file = config(&flag, &[]);
    assert_eq!((only_file.workers, only_file.queue, only_file.max_body), (Some(1), 1, Some(1024)));
    assert_eq!(shown(&only_file.listen), ["*:1", "*:2"]);

    let env = ["RONDE_WORKERS=2", "RONDE_QUEUE=2", "RONDE_BACKEND=env:1, env:2", "OTHER=x"];
    let with_env = config(&flag, &env);
    assert_eq!((with_env.workers, with_env.queue), (Some(2), 2));
    assert_eq!(shown(&with_env.backend), ["env:1", "env:2"]);

    let all = config(&format!("{flag} --workers 3 flag:1 --max-body unlimited"), &env);
    assert_eq!((all.workers, all.queue, all.max_body), (Some(3), 2, None));
    assert_eq!(shown(&all.backend), ["flag:1"]);
    assert_eq!(shown(&all.listen), ["*:1", "*:2"]);

    let path = format!("RONDE_CONFIG={}", file.0.display());
    assert_eq!(config("", &[&path]), only_file);
    assert_eq!(error_of("--config /nowhere", &[&path]).split(':').next(), Some("cannot read /nowhere"));
}

#[test]
fn a_backend_table_says_more_than_a_flag() {
    let file = Toml::new(
        "[[backend]]\naddress = 'a:1'\nweight = 256\nbackup = true\nmax-connections = 9\n[[backend]]\naddress = 'b:1'",
    );
    let backend = config(&file.flag(), &[]).backend;
    assert_eq!((backend[0].weight, backend[0].backup, backend[0].max_connections), (256, true, Some(9)));
    assert_eq!((backend[1].weight, backend[1].backup, backend[1].max_connections), (1, false, None));
    assert_eq!(backend[0].with_options(), "a:1 (weight 256, backup, max-connections 9)");
    assert_eq!(backend[1].with_options(), "b:1");
}

#[test]
fn unknown_variables_are_noted() {
    let env = ["RONDE_WORKER=1", "RONDE_PORT=tcp://10.0.0.1:80", "RONDE=1", "PATH=/"];
    assert_eq!(
        loaded("a:1", &env).notes,
        [
            r#"unknown variable "RONDE_PORT" is ignored"#,
            r#"unknown variable "RONDE_WORKER" is ignored; did you mean RONDE_WORKERS?"#,
        ]
    );
}

/// The hint names what the failure comes of.
#[test]
fn a_failure_keeps_the_hints_that_explain_it() {
    let hint = r#"unknown variable "RONDE_BACKENDS" is ignored; did you mean RONDE_BACKEND?"#;
    for (words, env) in [
        ("", &["RONDE_BACKENDS=a:1"][..]),
        ("--nope", &["RONDE_BACKENDS=a:1"]),
        ("--config /nowhere", &["RONDE_BACKENDS=a:1"]),
        ("a:1", &["RONDE_BACKENDS=a:1", "RONDE_WORKERS=0"]),
    ] {
        let Loaded { command, notes } = loaded(words, env);
        assert!(command.is_err(), "{words}");
        assert_eq!(notes, [hint], "{words}");
    }
    let file = Toml::new("max-transfers = 5");
    let notes = loaded(&file.flag(), &[]).notes;
    assert!(notes[0].starts_with("max-transfers in "), "{notes:?}");
}

#[test]
fn errors_in_the_command_line() {
    for (words, line) in [
        (
            "",
            "no backends; name them, as in `ronde HOST:PORT ...`, with --backend or in a file; or try `ronde demo`",
        ),
        (
            "check",
            "no backends; name them, as in `ronde HOST:PORT ...`, with --backend or in a file; or try `ronde demo`",
        ),
        ("demo a:1", "the demo brings its own backends; leave out a:1, or leave out `demo`"),
        (
            "dmeo",
            r#""dmeo" is not a backend HOST:PORT; a command (serve, demo, check, health, status, drain, undrain, reload) comes first; did you mean demo?"#,
        ),
        (
            "drian",
            r#""drian" is not a backend HOST:PORT; a command (serve, demo, check, health, status, drain, undrain, reload) comes first; did you mean drain?"#,
        ),
        ("--version --foo", r#"the version is asked for alone; leave out "--foo""#),
        ("version a:1", r#"the version is asked for alone; leave out "a:1""#),
        (
            "--queue 5 demo",
            r#""demo" is not a backend HOST:PORT; a command (serve, demo, check, health, status, drain, undrain, reload) comes first"#,
        ),
        ("--workers", "--workers needs a value: --workers N"),
        ("--workers= a:1", "--workers needs a value: --workers N"),
        ("--workers --listen :80", "--workers needs a value: --workers N"),
        ("--listen --workers 5 a:1", "--listen needs a value: --listen ADDR"),
        ("--config", "--config needs a value: --config FILE"),
        ("--config a --config b", "--config: given twice; it takes one value"),
        ("--workers 3 --workers=4 a:1", "--workers: given twice; it takes one value"),
        ("--worker 3 a:1", r#"unknown flag "--worker"; did you mean --workers?"#),
        ("--max-boby=3 a:1", r#"unknown flag "--max-boby"; did you mean --max-body?"#),
        ("--tls a:1", r#"unknown flag "--tls""#),
        ("-x", r#"unknown flag "-x""#),
        ("-- a:1", r#"unknown flag "--""#),
        ("--workers 0 a:1", r#"--workers: "0" is out of bounds; give 1 to 4096, or auto"#),
        ("--workers -1 a:1", r#"--workers: "-1" is not a whole number; give 1 to 4096, or auto"#),
        ("--workers=--queue a:1", r#"--workers: "--queue" is not a whole number; give 1 to 4096, or auto"#),
        (
            "--queue 99999999999999999999 a:1",
            r#"--queue: "99999999999999999999" is far too large; give 1 to 1048576"#,
        ),
        ("--idle-timeout 30 a:1", r#"--idle-timeout: "30" has no unit, as in 30s or 30ms; give 10ms to 24h"#),
        ("--idle-timeout 25h a:1", r#"--idle-timeout: "25h" is out of bounds; give 10ms to 24h"#),
        ("--idle-timeout 1d a:1", r#"--idle-timeout: "1d" is not a time; write 24h; give 10ms to 24h"#),
        (
            "--max-body 10MB a:1",
            r#"--max-body: "10MB" is not a size; write 10m; give 0 to 1024t, or unlimited"#,
        ),
        (
            "--max-body 1.5m a:1",
            r#"--max-body: "1.5m" is not a size, such as 500, 64k or 1m; give 0 to 1024t, or unlimited"#,
        ),
        ("--idle-timeout 5min a:1", r#"--idle-timeout: "5min" is not a time; write 5m; give 10ms to 24h"#),
        ("--idle-timeout 30S a:1", r#"--idle-timeout: "30S" is not a time; write 30s; give 10ms to 24h"#),
        (
            "--idle-timeout 1m30s a:1",
            r#"--idle-timeout: "1m30s" is not a time, such as 500ms, 2s, 1m or 1h; give 10ms to 24h"#,
        ),
        ("--max-head 2m a:1", r#"--max-head: "2m" is out of bounds; give 1k to 1m"#),
        ("--max-body 1kb a:1", r#"--max-body: "1kb" is not a size; write 1k; give 0 to 1024t, or unlimited"#),
        ("--workers none a:1", r#"--workers: "none" is not a whole number; give 1 to 4096, or auto"#),
        ("--access-log loud a:1", r#"--access-log: "loud" is unknown; give off, plain, combined or json"#),
        (
            "--log-level all a:1",
            r#"--log-level: "all" is unknown; give off, error, warn, info, debug or trace"#,
        ),
        ("--reveal-backends=1 a:1", r#"--reveal-backends: "1" is unknown; give true or false"#),
        (
            "--health-status 2xx a:1",
            r#"--health-status: "2xx" is no status; give 200 to 599, or a range such as 502-504"#,
        ),
        (
            "--retry-status 399 a:1",
            r#"--retry-status: "399" is no status; give 400 to 599, or a range such as 502-504"#,
        ),
        (
            "--health-host http://a/ a:1",
            r#"--health-host: "http://a/" is not a host; give one such as app.example or app.example:8000"#,
        ),
        (
            "--health-path x a:1",
            r#"--health-path: "x" is not a path; give one that begins with /, as in /health"#,
        ),
        (
            "--health-path /ä a:1",
            r#"--health-path: "/ä" has a character that no path may have; percent-encode it"#,
        ),
        (
            "--trust-proxy lan a:1",
            r#"--trust-proxy: "lan" is not a range of addresses; give 10.0.0.0/8 or 10.1.2.3"#,
        ),
        ("--trust-proxy ::/129 a:1", r#"--trust-proxy: "::/129" has too long a prefix; give /0 to /128"#),
        (
            "--trust-proxy 10.0.0.1/8 a:1",
            r#"--trust-proxy: "10.0.0.1/8" has bits beyond its prefix; give the range's first address"#,
        ),
        (
            "--allow lan a:1",
            r#"--allow: "lan" is unknown; give a range such as 10.0.0.0/8, unix:, all or none"#,
        ),
        ("--allow all --allow all a:1", "--allow: all is given twice"),
        (
            "--max-per-client 0 a:1",
            r#"--max-per-client: "0" is out of bounds; give 1 to 1048576, or unlimited"#,
        ),
        ("--listen 80 a:1", r#"--listen: "80" is a port only; write :80 for every address, or 127.0.0.1:80"#),
        ("--listen ::1 a:1", r#"--listen: "::1" has no port; write [::1]:8080"#),
        ("--listen [::1] a:1", r#"--listen: "[::1]" has no port; write [::1]:8080"#),
        ("--listen localhost a:1", r#"--listen: "localhost" has no port; write localhost:8080"#),
        ("--listen ::1:8080 a:1", r#"--listen: "::1:8080" has no brackets; write [::1]:8080"#),
        ("--listen :::80 a:1", r#"--listen: ":::80" has no brackets; write [::]:80"#),
        ("--listen http://0.0.0.0:80 a:1", r#"--listen: "http://0.0.0.0:80" is a URL; write 0.0.0.0:80"#),
        (
            "--listen https://example.org/ a:1",
            r#"--listen: "https://example.org/" is a URL; write 127.0.0.1:8080 or :8080"#,
        ),
        ("--listen /run/r.sock a:1", r#"--listen: "/run/r.sock" is a path; write unix:/run/r.sock"#),
        (
            "--listen app a:1",
            r#"--listen: "app" is not an address; give one such as 127.0.0.1:8080 or :8080"#,
        ),
        (
            "--listen app:80 a:1",
            r#"--listen: "app:80" has a host that is not an IP address; give 127.0.0.1:8080 or :8080"#,
        ),
        ("--listen :x a:1", r#"--listen: ":x" has no valid port; give 0 to 65535"#),
        ("--listen 127.0.0.1:99999 a:1", r#"--listen: "127.0.0.1:99999" has no valid port; give 0 to 65535"#),
        ("--listen :1 --listen *:1 a:1", "--listen: *:1 is given twice"),
        ("--listen unix:/a --listen unix:/a a:1", "--listen: unix:/a is given twice"),
        ("unix:/a --backend unix:/a", "--backend: unix:/a is given twice"),
        ("--listen-mode rw a:1", r#"--listen-mode: "rw" is no mode; give three digits such as 660 or 666"#),
        (
            "--trust-proxy unix:/a a:1",
            r#"--trust-proxy: "unix:/a" names one socket; write unix: for the clients of all"#,
        ),
        (
            "--proxy-protocol :81 --trust-proxy ::1 a:1",
            "--proxy-protocol: *:81 is no address of --listen or --tls-listen",
        ),
        #[cfg(feature = "tls")]
        (
            "--tls-listen :443 a:1",
            "--tls-listen: needs a certificate; add --tls-certificate and --tls-key, or [[tls]] in the file",
        ),
        #[cfg(not(feature = "tls"))]
        ("--tls-listen :443 a:1", "--tls-listen: this ronde was built without TLS"),
        #[cfg(feature = "tls")]
        (
            "--listen :81 --tls-listen 127.0.0.1:81 --tls-certificate c --tls-key k a:1",
            "--tls-listen: 127.0.0.1:81 is an address of --listen, too",
        ),
        #[cfg(feature = "tls")]
        (
            "--listen unix:/a --tls-listen unix:/a --tls-certificate c --tls-key k a:1",
            "--tls-listen: unix:/a is an address of --listen, too",
        ),
        (
            "--listen :81 --listen 127.0.0.1:81 --proxy-protocol 127.0.0.1:81 --trust-proxy ::1 a:1",
            "--proxy-protocol: 127.0.0.1:81 is a part of *:81; name that, or listen on parts only",
        ),
        (
            "--listen :81 --proxy-protocol :81 --trust-proxy unix: a:1",
            "--proxy-protocol: the header is believed from trusted proxies only: add --trust-proxy and its address",
        ),
        (
            "--listen unix:/a --proxy-protocol unix:/a --trust-proxy ::1 a:1",
            "--proxy-protocol: the header is believed from trusted proxies only: add --trust-proxy unix:",
        ),
        ("a:1 --backend A:1", "--backend: a:1 is given twice"),
        ("--backend app1", r#"--backend: "app1" has no port; give HOST:PORT"#),
        ("app1:0", r#"--backend: "app1:0" has no valid port; give 1 to 65535"#),
        (":8000", r#"--backend: ":8000" has no valid host; give a name or an address, IPv6 in brackets"#),
        (
            "a/b:8000",
            r#"--backend: "a/b:8000" has no valid host; give a name or an address, IPv6 in brackets"#,
        ),
        ("::1", r#"--backend: "::1" has no port, or no brackets; write [::1]:8000"#),
        ("::1:9000", r#"--backend: "::1:9000" has no port, or no brackets; write [::1]:9000"#),
        ("a:1 --reveal-backends yes", r#"--reveal-backends: "yes" is unknown; give true or false"#),
        (
            "http://unix:/run/app.sock",
            r#"--backend: "http://unix:/run/app.sock" is a path; write unix:/run/app.sock"#,
        ),
        ("/run/app.sock", r#"--backend: "/run/app.sock" is a path; write unix:/run/app.sock"#),
        (
            "app1:8000/api",
            r#"--backend: "app1:8000/api" has a path; write app1:8000: a request keeps its own path on its way to a backend"#,
        ),
        ("app1:80,app2:80", r#"--backend: "app1:80,app2:80" is a list; give each backend by itself"#),
        ("http://u:p@app1/", r#"--backend: "http://u:p@app1/" is a URL; write app1:80"#),
        ("http://[::1]/", r#"--backend: "http://[::1]/" is a URL; write [::1]:80"#),
        ("http://", r#"--backend: "http://" is a URL; write HOST:PORT"#),
        ("http://app1:8000/x", r#"--backend: "http://app1:8000/x" is a URL; write app1:8000"#),
        ("http://app1", r#"--backend: "http://app1" is a URL; write app1:80"#),
        (
            "ftp://app1",
            r#"--backend: "ftp://app1" is a URL of another scheme; write HOST:PORT, or https://HOST:PORT"#,
        ),
        (
            "https://app1:8443/",
            r#"--backend: "https://app1:8443/" has a path; write https://app1:8443: a request keeps its own path on its way to a backend"#,
        ),
        (
            "https://",
            r#"--backend: https: ":443" has no valid host; give a name or an address, IPv6 in brackets"#,
        ),
        ("https://app1:0", r#"--backend: https: "app1:0" has no valid port; give 1 to 65535"#),
        (
            "https://unix:/run/app.sock",
            r#"--backend: "https://unix:/run/app.sock" has a path; write https://unix:: a request keeps its own path on its way to a backend"#,
        ),
        (
            "--config /",
            "cannot read /: Is a directory (os error 21); Docker makes a directory where the file to mount does not exist \
             on the host",
        ),
        ("--config /nowhere", "cannot read /nowhere: No such file or directory (os error 2)"),
        (
            "--config /dev/zero",
            "cannot read /dev/zero: it is larger than 1 MiB, the limit for a configuration file",
        ),
    ] {
        assert_eq!(error_of(words, &[]), line, "{words}");
    }
    let empty = load(vec!["--workers".into(), "".into()], []);
    assert_eq!(empty.command.unwrap_err().to_string(), "--workers needs a value: --workers N");
    let not_utf8 = load(vec![OsString::from_vec(b"--queue=\xff".to_vec())], []);
    assert_eq!(not_utf8.command.unwrap_err().to_string(), "\"--queue=\u{fffd}\" is not UTF-8");
}

#[test]
fn errors_in_the_environment() {
    for (variable, line) in [
        ("RONDE_WORKERS=0", r#"RONDE_WORKERS: "0" is out of bounds; give 1 to 4096, or auto"#),
        ("RONDE_QUEUE=", "RONDE_QUEUE: the value is empty; unset it instead"),
        ("RONDE_CONFIG=", "RONDE_CONFIG: the value is empty; unset it instead"),
        ("RONDE_BACKEND=a:1,", "RONDE_BACKEND: the value is empty"),
        ("RONDE_BACKEND=a:1,b", r#"RONDE_BACKEND: "b" has no port; give HOST:PORT"#),
        ("RONDE_REVEAL_BACKENDS=yes", r#"RONDE_REVEAL_BACKENDS: "yes" is unknown; give true or false"#),
    ] {
        assert_eq!(error_of("check", &[variable]), line);
    }
    // A stronger source does not hide a mistake in a weaker one.
    assert_eq!(
        error_of("--workers 1 a:1", &["RONDE_WORKERS=0"]),
        r#"RONDE_WORKERS: "0" is out of bounds; give 1 to 4096, or auto"#
    );
    let not_utf8 = load(vec![], [("RONDE_QUEUE".into(), OsString::from_vec(vec![0xff]))]);
    assert_eq!(not_utf8.command.unwrap_err().to_string(), "RONDE_QUEUE: the value is not UTF-8");
}

#[test]
fn a_file_without_backends_is_named() {
    for content in ["", "workers = 3"] {
        let expected = r#"no backends; name them in FILE, as in `backend = "HOST:PORT"`, or with --backend"#;
        assert_eq!(file_error(content), expected, "{content}");
    }
}

#[test]
fn errors_in_the_file() {
    for (content, line) in [
        ("\nworkers = 0", r#"FILE:2:11: workers: "0" is out of bounds; give 1 to 4096, or auto"#),
        (
            "# ä\nworkers = true",
            r#"FILE:2:11: workers: "true" is not a whole number; give 1 to 4096, or auto"#,
        ),
        ("workers = 1.5", r#"FILE:1:11: workers: "1.5" is not a whole number; give 1 to 4096, or auto"#),
        ("workers = -1", r#"FILE:1:11: workers: "-1" is not a whole number; give 1 to 4096, or auto"#),
        (
            "workers = 99999999999999999999999",
            r#"FILE:1:11: workers: "99999999999999999999999" is far too large; give 1 to 4096, or auto"#,
        ),
        (
            "[[backend]]\naddress = 'a:1'\nweight = 99999999999999999999999",
            "FILE:3:10: backend.weight: 99999999999999999999999 is out of bounds; give 1 to 256",
        ),
        (
            "[tls]\ncertificate = 'a'\nkey = 'b'",
            "FILE:1:1: write [[tls]]: there may be several, and one is written the same way",
        ),
        (
            "[route]\npath = '/a'\nrespond = 404",
            "FILE:1:1: write [[route]]: there may be several, and one is written the same way",
        ),
        ("workers = ''", "FILE:1:11: workers: the value is empty"),
        ("workers = [1, 2]", "FILE:1:11: workers: takes one value, not a list"),
        ("workers = { address = 'a:1' }", "FILE:1:11: workers: takes a value, not a table"),
        ("workers = 1979-05-27", "FILE:1:11: a date is not allowed in `workers`"),
        (
            "idle-timeout = 30",
            r#"FILE:1:16: idle-timeout: "30" has no unit, as in 30s or 30ms; give 10ms to 24h"#,
        ),
        (
            "access-log = true",
            r#"FILE:1:14: access-log: "true" is unknown; give off, plain, combined or json"#,
        ),
        (
            "listen = 80",
            r#"FILE:1:10: listen: "80" is a port only; write :80 for every address, or 127.0.0.1:80"#,
        ),
        ("listen = []", "FILE:1:10: listen: the list is empty; leave the key out instead"),
        ("backend = [\n  'a:1',\n  'b',\n]", r#"FILE:3:3: backend: "b" has no port; give HOST:PORT"#),
        ("queue = 5\nworkrs = 0", r#"FILE:2:1: unknown key "workrs"; did you mean workers?"#),
        ("max_head = 5", r#"FILE:1:1: unknown key "max_head"; did you mean max-head?"#),
        ("[server]\nworkers = 1", r#"FILE:1:2: unknown key "server""#),
        ("config = 'x'", r#"FILE:1:1: unknown key "config""#),
        ("queue = 1\nqueue = 2", r#"FILE:2:1: duplicate key: "queue""#),
        ("queue = ", "FILE:1:9: string values must be quoted, expected literal string"),
        ("queue = 1 2", r#"FILE:1:9: string values must be quoted, expected literal string: "1 2""#),
        ("queue", "FILE:1:6: key with no value, expected `=`"),
        ("listen = ':80", "FILE:1:14: invalid literal string, expected `'`"),
        (
            "[[backend]]\naddress = 'a:1'\nweigth = 2",
            r#"FILE:3:1: unknown key "weigth" in `backend`; did you mean weight?"#,
        ),
        (
            "[[backend]]\naddress = 'a:1'\nlisten = ':80'",
            "FILE:3:1: listen is unknown in `backend`; move it to the top of the file, before the first [[...]]",
        ),
        (
            "[[tls]]\ncertificate = 'a'\nkey = 'b'\nworkers = 3",
            "FILE:4:1: workers is unknown in `tls`; move it to the top of the file, before the first [[...]]",
        ),
        (
            "[[backend]]\naddress = 'a:1'\nweight = 0",
            "FILE:3:10: backend.weight: 0 is out of bounds; give 1 to 256",
        ),
        (
            "[[backend]]\naddress = 'a:1'\nweight = -1",
            "FILE:3:10: backend.weight: -1 is out of bounds; give 1 to 256",
        ),
        (
            "[[backend]]\naddress = 'a:1'\nmax-connections = 0",
            "FILE:3:19: backend.max-connections: 0 is out of bounds; give 1 to 1048576",
        ),
        (
            "[[backend]]\naddress = 'a:1'\nbackup = 1",
            "FILE:3:10: invalid type: integer `1`, expected a boolean in `backend.backup`",
        ),
        ("[[backend]]\naddress = 'a'", r#"FILE:2:11: backend.address: "a" has no port; give HOST:PORT"#),
        (
            "[[backend]]\naddress = 'a:1'\n[[backend]]\naddress = 'a:1'",
            "FILE:4:11: backend.address: a:1 is given twice",
        ),
        ("[[backend]]\nweight = 1", "FILE:1:1: missing field `address` in `backend`"),
    ] {
        assert_eq!(file_error(content), line, "{content}");
    }
    for binary in [&b"queue = 1\n\0\0"[..], b"queue = 1\n\0\xff"] {
        let line = "FILE:2:1: a NUL byte, so this is no text file; save it as UTF-8";
        assert_eq!(file_error(binary), line);
    }
    assert_eq!(file_error(b"queue = 1\n# \xff"), "FILE:2:3: not UTF-8; save the file as UTF-8");
}

proptest! {
    /// Whatever a user types, the result is a command or a message of one line.
    #[test]
    fn no_word_panics(words in proptest::collection::vec(any::<String>(), 0..4), value in any::<String>()) {
        for row in TABLE {
            let mut args: Vec<OsString> = words.iter().map(OsString::from).collect();
            args.extend([row.flag.into(), OsString::from(&value)]);
            if let Err(error) = load(args, [(row.variable().into(), OsString::from(&value))]).command {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }

    #[test]
    fn no_file_panics(key in "[a-z-]{1,8}|workers|listen|\\[\\[backend\\]\\]\naddress|\\[\\[route\\]\\]\n(host|path|backend|redirect|text)", value in any::<String>()) {
        for content in [value.clone(), format!("{key} = {value}"), format!("{key} = {value:?}")] {
            let file = Toml::new(content);
            if let Err(error) = try_load(&format!("health {}", file.flag()), &[]) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}

/// The routes of a file, as the error or `said -> backends`.
fn routes_of(content: &str) -> Vec<String> {
    let file = Toml::new(content);
    let shown = |route: &Route| format!("{route} -> {}", shown(&route.config.backend).join(","));
    config(&file.flag(), &[]).route.iter().map(shown).collect()
}

#[test]
fn routes_are_read_from_every_source_and_the_strongest_wins() {
    let file = "[[route]]\nhost = ['Example.COM.', '*.example.com']\npath = '/api'\nbackend = ['a:1', 'b:1']\n\
                [[route]]\npath = '/x'\n[[route.backend]]\naddress = 'c:1'\nweight = 2\n\
                [[route]]\nhost = '[0:0::1]'\nbackend = ['d:1', 'unix:/run/app.sock']";
    let read = ["example.com,*.example.com/api -> a:1,b:1", "/x -> c:1", "[::1] -> d:1,unix:/run/app.sock"];
    assert_eq!(routes_of(file), read);
    let words = ["--route", "example.com/api=a:1, b:1", "--route", "/x=c:1,unix:/run/app.sock"];
    let Loaded { command, .. } = load(words.map(OsString::from).to_vec(), []);
    let Ok(Command::Serve(flagged)) = command else { panic!("{command:?}") };
    assert_eq!(shown(&flagged.route), ["example.com/api", "/x"]);
    assert_eq!(shown(&flagged.route[0].config.backend), ["a:1", "b:1"]);
    assert_eq!(shown(&flagged.route[1].config.backend), ["c:1", "unix:/run/app.sock"]);
    let variable = config("", &["RONDE_ROUTE=a.example,b.example=a:1,b:1;/x=c:1"]);
    assert_eq!(shown(&variable.route), ["a.example,b.example", "/x"]);
    let file = Toml::new(file);
    assert_eq!(shown(&config(&format!("{} --route /y=a:1", file.flag()), &[]).route), ["/y"]);
}

#[test]
fn a_route_inherits_what_it_does_not_set() {
    let file = Toml::new(
        "max-fails = 7\nidle-timeout = '9s'\nmax-head = '8k'\nbackend = 'a:1'\n\
         [[route]]\npath = '/x'\nstrip = true\nbackend = 'b:1'\nidle-timeout = '5s'\nmax-body = '1m'\n\
         balance = 'client-address'\nhealth-path = '/h'",
    );
    let config = config(&format!("{} --response-timeout 3s --idle-timeout 1m", file.flag()), &[]);
    let Route { action, config: own, .. } = &config.route[0];
    assert_eq!(*action, Action::Proxy(Prefix::Stripped));
    assert_eq!((own.max_fails, own.max_head, own.max_body), (7, 8192, Some(1 << 20)));
    // What a route says is nearer than a flag.
    assert_eq!((own.idle_timeout, own.response_timeout), (Duration::from_secs(5), Duration::from_secs(3)));
    assert_eq!((own.balance, own.health_path.as_deref()), (Balance::ClientAddress, Some("/h")));
    assert_eq!((config.idle_timeout, config.balance), (Duration::from_secs(60), Balance::RoundRobin));
    assert_eq!(shown(&own.backend), ["b:1"]);
    assert!(own.route.is_empty());
}

#[test]
fn a_route_shares_the_settings_of_the_one_before_it_where_nothing_differs() {
    let line = "--route a.example=a:1 --route b.example=a:1 --route c.example=b:1 --route d.example=a:1";
    let routes = config(line, &[]).route;
    let is_shared: Vec<_> =
        routes.windows(2).map(|two| Arc::ptr_eq(&two[0].config, &two[1].config)).collect();
    assert_eq!(is_shared, [true, false, false]);
}

/// The fields that are set in requests and removed from responses, as flags would say it.
fn fields_of(config: &Config) -> Vec<String> {
    let set = config
        .set_request_header
        .iter()
        .map(|field| format!("{}: {:?}", field.name.as_str(), field.value.parts()));
    set.chain(config.remove_response_header.iter().map(|name| format!("-{}", name.as_str()))).collect()
}

#[test]
fn fields_are_read_from_every_source() {
    let read = ["X-A: [Text(\"b, c;d\")]", "X-C: [Client]", "-Server", "-X-Debug"];
    for file in [
        "set-request-header = { X-A = 'b, c;d', X-C = '{client}' }\nremove-response-header = ['Server', 'X-Debug']",
        "set-request-header.X-A = 'b, c;d'\nset-request-header.\"X-C\" = '{client}'\nremove-response-header = ['Server', 'X-Debug']",
        "remove-response-header = ['Server', 'X-Debug']\n[set-request-header]\nX-A = 'b, c;d'\nX-C = '{client}'",
    ] {
        let file = Toml::new(file);
        assert_eq!(fields_of(&config(&format!("health {}", file.flag()), &[])), read);
    }
    let words = ["health", "--set-request-header", "X-A: b, c;d", "--set-request-header=X-C:{client}"];
    let words =
        words.into_iter().chain(["--remove-response-header", "Server", "--remove-response-header=X-Debug"]);
    let Ok(Command::Health(flagged)) = load(words.map(OsString::from).collect(), []).command else {
        panic!("flags")
    };
    assert_eq!(fields_of(&flagged), read);
    let env = [
        "RONDE_SET_REQUEST_HEADER=X-A: b, c;d\n  X-C: {client}\n",
        "RONDE_REMOVE_RESPONSE_HEADER=Server, X-Debug",
    ];
    assert_eq!(fields_of(&config("health", &env)), read);
}

#[test]
fn a_route_replaces_the_fields_that_it_would_inherit() {
    let file = Toml::new(
        "real-ip = true\nset-request-header = { A = '1', B = '2' }\nremove-response-header = ['C', 'D']\n\
         [[route]]\npath = '/inherits'\nbackend = 'a:1'\n\
         [[route]]\npath = '/own'\nbackend = 'a:1'\nreal-ip = false\nremove-response-header = 'E'\n\
         [route.set-request-header]\nF = 3\n\
         [[route]]\npath = '/nothing'\nbackend = 'a:1'\nset-request-header = {}\nremove-response-header = []\n\
         [[route]]\npath = '/removes'\nbackend = 'a:1'\nremove-request-header = 'a'\n\
         set-response-header = { d = 'x' }",
    );
    let routes = config(&file.flag(), &[]).route;
    let own: Vec<_> = routes.iter().map(|route| fields_of(&route.config)).collect();
    let (one, two, three) = ("A: [Text(\"1\")]", "B: [Text(\"2\")]", "F: [Text(\"3\")]");
    // What it says itself is nearer: it removes A, and sets d.
    assert_eq!(own, [vec![one, two, "-C", "-D"], vec![three, "-E"], vec![], vec![two, "-C"]]);
    assert_eq!(
        routes.iter().map(|route| route.config.real_ip).collect::<Vec<_>>(),
        [true, false, true, true]
    );
}

#[test]
fn a_mistake_in_a_field_is_named_with_its_place() {
    for (content, error) in [
        ("set-request-header = { A = 'b',\n a = 'c' }", "FILE:2:6: set-request-header: a is given twice"),
        (
            "set-request-header = { X_A = 'b', X-A = 'c' }",
            "FILE:1:30: set-request-header: x-a is given twice",
        ),
        ("set-request-header = { A = 'b', A = 'c' }", "FILE:1:33: duplicate key: \"A\""),
        (
            "\n[set-response-header]\nA = 'b{clint}'",
            "FILE:3:5: set-response-header: \"{clint}\" is no placeholder; give {client}, {host} or {scheme}, or {{ for a brace",
        ),
        (
            "set-request-header = { \"A:b\" = 'c' }",
            "FILE:1:32: set-request-header: \"A:b\" has a colon in its name",
        ),
        ("set-request-header = { A = ['c'] }", "FILE:1:28: set-request-header: \"A\" takes one value"),
        (
            "set-request-header = 'A: b'",
            "FILE:1:22: invalid type: string \"A: b\", expected a table of fields, such as { X-Name = \"value\" } in `set-request-header`",
        ),
        ("remove-request-header = { A = 'b' }", "FILE:1:27: unknown key \"A\" in `remove-request-header`"),
        (
            "remove-response-header = ['Server', 'server']",
            "FILE:1:37: remove-response-header: server is given twice",
        ),
        (
            "remove-request-header = 'Host'",
            "FILE:1:25: remove-request-header: \"Host\" cannot be set or removed: a request has exactly one, which \
             --set-request-header can replace",
        ),
        (
            "remove-request-header = 'a'\nset-request-header = { A = 'b' }",
            "a is both set and removed in requests; leave out one of the two",
        ),
        (
            "[[route]]\npath = '/x'\nbackend = 'a:1'\nremove-response-header = 'a_b'\nset-response-header = { A-B = 'b' }",
            "FILE:1:1: route: a-b is both set and removed in responses; leave out one of the two",
        ),
        (
            "[[route]]\npath = '/x'\nbackend = 'a:1'\n[route.set-request-header]\nX-A = 'b'\nallow = '10.0.0.0/8'",
            "FILE:6:9: set-request-header: allow is a setting, and here it would be a field; move it above the table, or write \
             Allow for the field",
        ),
        (
            "backend = 'a:1'\n[set-response-header]\naccess-log = 'json'",
            "FILE:3:14: set-response-header: access-log is a setting, and here it would be a field; move it above the table, or \
             write Access-Log for the field",
        ),
        (
            "[[route]]\npath = '/x'\nbackend = 'a:1'\n[route.set-request-header]\nTE = 'b'",
            "FILE:5:6: set-request-header: \"TE\" cannot be set or removed: it belongs to the framing of a message, which ronde \
             decides anew for each connection",
        ),
    ] {
        assert_eq!(file_error(content), error, "{content}");
    }
    for (words, error) in [
        ("a:1 --set-request-header A", "--set-request-header: \"A\" is not a field; give Name: value"),
        ("a:1 --set-request-header A:b --set-request-header a:c", "--set-request-header: a is given twice"),
        (
            "a:1 --set-request-header A:b --remove-request-header a",
            "a is both set and removed in requests; leave out one of the two",
        ),
        ("a:1 --set-request-header", "--set-request-header needs a value: --set-request-header NAME:VALUE"),
    ] {
        assert_eq!(error_of(words, &[]), error, "{words}");
    }
}

#[test]
fn a_route_replaces_the_access_list_that_it_sets() {
    let file = Toml::new(
        "allow = ['10.0.0.0/8', 'unix:']\ndeny = '10.0.0.7'\nbackend = 'a:1'\n\
         [[route]]\npath = '/x'\nbackend = 'a:1'\nallow = 'all'\n\
         [[route]]\npath = '/y'\nbackend = 'a:1'\ndeny = ['none']\n\
         [[route]]\npath = '/z'\nbackend = 'a:1'",
    );
    let config = config(&format!("{} --deny 10.0.0.8", file.flag()), &[]);
    let told: Vec<_> =
        config.route.iter().map(|route| route.config.access_text().unwrap_or_default()).collect();
    let all = "allow 10.0.0.0/8, unix:; deny 10.0.0.8/32";
    assert_eq!(config.access_text().as_deref(), Some(all));
    assert_eq!(told, ["allow all; deny 10.0.0.8/32", "allow 10.0.0.0/8, unix:; deny none", all]);
}

/// They were valid, and what ronde made of them its own request parser refuses.
#[test]
fn hosts_that_no_reader_takes_for_hosts_were_sent() {
    for host in [":443", "a:b", "a:99999", "a:1:2", "a..b", ".a", "[::1", "[zz]", "[::1]x"] {
        for content in [
            format!("[[route]]\npath = '/x'\nredirect = 'https://{host}'"),
            format!("backend = 'a:1'\nhealth-path = '/'\nhealth-host = '{host}'"),
            format!("backend = 'a:1'\nset-request-header = {{ Host = '{host}' }}"),
        ] {
            let error = file_error(&content);
            assert!(
                error.contains("is not an origin") || error.contains("is not a host"),
                "{content}: {error}"
            );
        }
    }
}

#[test]
fn a_route_redirects_or_responds() {
    let file = Toml::new(
        "[[route]]\nhost = 'a.example'\nredirect = 'https://www.a.example/'\n\
         [[route]]\nhost = 'b.example'\nrespond = 503\ntext = 'Back at noon.'",
    );
    let actions: Vec<_> = config(&file.flag(), &[]).route.into_iter().map(|route| route.action).collect();
    let respond = Action::Respond { status: 503, text: "Back at noon.".into() };
    assert_eq!(actions, [Action::Redirect("https://www.a.example".into()), respond]);
}

#[test]
fn a_mistake_in_a_route_is_named_with_its_place() {
    let route = |keys: &str| file_error(format!("backend = 'z:1'\n[[route]]\n{keys}"));
    for (keys, error) in [
        (
            "backend = 'a:1'",
            "FILE:2:1: route: takes every request, so no other backend gets any; give it a host or a path",
        ),
        (
            "path = '/x'",
            "FILE:2:1: route: the route has nothing to do; give it a backend, redirect or respond",
        ),
        (
            "path = '/x'\nbackend = 'a:1'\nrespond = 503",
            "FILE:2:1: route: backend, redirect and respond exclude each other; give one of them",
        ),
        (
            "path = '/x'\nredirect = 'http://a'\nrespond = 503",
            "FILE:2:1: route: backend, redirect and respond exclude each other; give one of them",
        ),
        ("path = '/x'\nbackend = 'a:1'\ntext = 'x'", "FILE:2:1: route: text changes nothing without respond"),
        (
            "path = '/x'\nrespond = 503\nstrip = true",
            "FILE:2:1: route: strip changes nothing without a backend",
        ),
        (
            "host = 'a'\nbackend = 'a:1'\nstrip = true",
            "FILE:2:1: route: strip takes the path off, and this route has none",
        ),
        (
            "host = 'a'\nbackend = 'a:1'\n[[route]]\nhost = ['b', 'A']\nbackend = 'b:1'",
            "FILE:5:1: route: a is routed twice, first at FILE:2:1: route",
        ),
        (
            "host = 'a'\npath = '/'\nbackend = 'a:1'\n[[route]]\nhost = 'a'\nbackend = 'b:1'",
            "FILE:6:1: route: a is routed twice, first at FILE:2:1: route",
        ),
        ("host = ['a', 'a.']\nbackend = 'a:1'", "FILE:3:14: host: a is given twice"),
        (
            "host = 'http://a/b'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "http://a/b" is a URL; a host is a name alone, such as "a""#,
        ),
        (
            "host = 'a/b'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "a/b" has a path; write host = "a" and path = "/b""#,
        ),
        (
            "host = 'a:80'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "a:80" has a port, which routes do not compare; write a"#,
        ),
        ("host = '*'\nbackend = 'a:1'", r#"FILE:3:8: host: "*" is every host; leave the host out"#),
        (
            "host = '_'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "_" is every other host to nginx; leave the host out"#,
        ),
        (
            "host = 'www.*'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "www.*" has a * elsewhere than in front of a whole name, as in *.example.com"#,
        ),
        ("host = '::1'\nbackend = 'a:1'", r#"FILE:3:8: host: "::1" has no brackets; write [::1]"#),
        (
            "host = 'ä'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "ä" is not ASCII; write it as browsers send it, which begins with xn--"#,
        ),
        (
            "host = 'a b'\nbackend = 'a:1'",
            r#"FILE:3:8: host: "a b" is not a host; give one such as example.com or *.example.com"#,
        ),
        (
            "path = 'api'\nbackend = 'a:1'",
            r#"FILE:3:8: path: "api" is not a path; give one that begins with /, as in /api"#,
        ),
        (
            "path = '/api/'\nbackend = 'a:1'",
            r#"FILE:3:8: path: "/api/" has an end that no route needs; write /api, which takes what is below it, too"#,
        ),
        (
            "path = '/api/*'\nbackend = 'a:1'",
            r#"FILE:3:8: path: "/api/*" has an end that no route needs; write /api, which takes what is below it, too"#,
        ),
        (
            "path = '/a?b'\nbackend = 'a:1'",
            r#"FILE:3:8: path: "/a?b" has a query or a fragment; a route is chosen by the path alone"#,
        ),
        (
            "path = '/ä'\nbackend = 'a:1'",
            r#"FILE:3:8: path: "/ä" has a character that no path may have; percent-encode it"#,
        ),
        ("path = ['/a', '/b']\nbackend = 'a:1'", "FILE:3:8: path: takes one value, not a list"),
        (
            "path = '/x'\nredirect = 'www.a'",
            r#"FILE:4:12: redirect: "www.a" is not an origin; give https://www.example.com"#,
        ),
        (
            "path = '/x'\nredirect = 'http://a/b'",
            r#"FILE:4:12: redirect: "http://a/b" has a path; a request keeps its own path and query"#,
        ),
        (
            "path = '/x'\nrespond = 204",
            r#"FILE:4:11: respond: "204" needs more than a text; give 200, or 400 to 599"#,
        ),
        ("path = '/x'\nrespond = 99", r#"FILE:4:11: respond: "99" is out of bounds; give 200 to 599"#),
        ("path = '/x'\nbackend = 'a'", r#"FILE:4:11: backend: "a" has no port; give HOST:PORT"#),
        (
            "path = '/x'\nbackend = 'a:1'\nidle-timeout = 30",
            r#"FILE:5:16: idle-timeout: "30" has no unit, as in 30s or 30ms; give 10ms to 24h"#,
        ),
        (
            "path = '/x'\nbackend = 'a:1'\nworkers = 2",
            "FILE:5:1: workers is for all routes; move it to the top of the file, before the first [[...]]",
        ),
        (
            "path = '/x'\nbakend = 'a:1'",
            r#"FILE:4:1: unknown key "bakend" in `route`; did you mean backend?"#,
        ),
        (
            "path = '/x'\nbackend = 'a:1'\nbalance = 'ip'",
            r#"FILE:5:11: balance: "ip" is unknown; give round-robin, least-connections or client-address"#,
        ),
    ] {
        assert_eq!(route(keys), error, "{keys}");
    }
    for (content, error) in [
        (
            "route = 'x'",
            "FILE:1:9: invalid type: string \"x\", expected tables, each under [[route]] in `route`",
        ),
        (
            "[route]\npath = '/x'",
            "FILE:1:1: write [[route]]: there may be several, and one is written the same way",
        ),
        ("[[route]]\npath = '/x'\npath = '/y'", "FILE:3:1: duplicate key: \"path\""),
        (
            "[[route]]\npath = '/x'\nbackend = []",
            "FILE:3:11: backend: the list is empty; leave the key out instead",
        ),
        ("[[route]]\npath.x = 1", "FILE:2:6: unknown key \"x\" in `route.path`"),
    ] {
        assert_eq!(file_error(content), error, "{content}");
    }
    for (words, error) in [
        ("--route /x", r#"--route: "/x" is not a route; give HOST/PATH=HOST:PORT,..."#),
        ("--route /x=a", r#"--route: "a" has no port; give HOST:PORT"#),
        ("--route http://a/x=b:1", r#"--route: "http://a/x" is a URL; give HOST/PATH without http://"#),
        ("--route a:80/x=b:1", r#"--route: "a:80" has a port, which routes do not compare; write a"#),
        ("--route /x=b:1 --route /x=c:1", "--route: /x is routed twice"),
        ("--route /x=b:1 --url http://a", "--url: is for `ronde check` alone"),
        ("check --route /x=b:1 --url /x", r#"--url: "/x" is not a URL; give http://example.com/api"#),
    ] {
        assert_eq!(error_of(words, &[]), error, "{words}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_read_from_every_source_and_the_strongest_wins() {
    let pairs = |words: &str, env: &[&str]| -> Vec<String> {
        let files = config(&format!("{words} a:1"), env).certificates();
        files.iter().map(|it| format!("{} {}", it.certificate.display(), it.key.display())).collect()
    };
    let file = Toml::new(
        "[[tls]]\ncertificate = '/a, b.pem'\nkey = '/k.pem'\n[[tls]]\nkey = '/k.pem'\ncertificate = '/c.pem'",
    );
    let top = Toml::new("tls-certificate = '/d.pem'\ntls-key = '/d.key'");
    assert_eq!(pairs("", &[]), [""; 0]);
    assert_eq!(pairs(&file.flag(), &[]), ["/a, b.pem /k.pem", "/c.pem /k.pem"]);
    assert_eq!(pairs(&top.flag(), &[]), ["/d.pem /d.key"]);
    let variables = ["RONDE_TLS_CERTIFICATE=e,f.pem", "RONDE_TLS_KEY=e.key"];
    assert_eq!(pairs(&file.flag(), &variables), ["e,f.pem e.key"]);
    let flags = "--tls-certificate x.pem --tls-key x.key";
    assert_eq!(pairs(&format!("{flags} {}", top.flag()), &variables), ["x.pem x.key"]);
    assert_eq!(pairs(&format!("{flags} --tls-certificate y.pem --tls-key x.key"), &[]).len(), 2);
}

#[cfg(feature = "tls")]
#[test]
fn a_mistake_in_tls_is_named_with_its_place() {
    for (words, error) in [
        ("--tls-certificate a.pem", "--tls-certificate: has no key; add --tls-key"),
        (
            "--tls-listen :443",
            "--tls-listen: needs a certificate; add --tls-certificate and --tls-key, or [[tls]] in the file",
        ),
        ("--tls-key a.key", "--tls-key: has no certificate; add --tls-certificate"),
        (
            "--tls-certificate a --tls-key a --tls-certificate b",
            "--tls-key: 1 for 2 certificates; give one for each, in the same order",
        ),
        (
            "--tls-certificate a --tls-key a --tls-certificate a --tls-key b",
            "--tls-certificate: a is given twice",
        ),
        ("--tls-key -----BEGIN=x", "--tls-key needs a value: --tls-key FILE"),
        ("--acme-challenge 80", r#"--acme-challenge: "80" has no port; give HOST:PORT"#),
        (
            "--hsts 300",
            r#"--hsts: "300" is no directive of it; give max-age=SECONDS, and perhaps includeSubDomains and preload, divided by semicolons"#,
        ),
    ] {
        assert_eq!(error_of(&format!("{words} a:1"), &[]), error, "{words}");
    }
    for (content, error) in [
        ("[[tls]]\ncertificate = 'a'", "FILE:1:1: missing field `key` in `tls`"),
        (
            "[[tls]]\ncertificate = 'a'\nkey = 1",
            "FILE:3:7: invalid type: integer `1`, expected a string in `tls.key`",
        ),
        ("[[tls]]\ncertificate = ''\nkey = 'a'", "FILE:2:15: tls.certificate: the value is empty"),
        (
            "[[tls]]\ncertifcate = 'a'",
            r#"FILE:2:1: unknown key "certifcate" in `tls`; did you mean certificate?"#,
        ),
        ("tls = 'a'", "FILE:1:7: invalid type: string \"a\", expected a list in `tls`"),
        (
            "tls-key = 'a'\n[[tls]]\ncertificate = 'a'\nkey = 'a'",
            "FILE:2:1: tls: tls-key stands at the top, too; give either it or [[tls]]",
        ),
        (
            "[[tls]]\ncertificate = '-----BEGIN CERTIFICATE-----'\nkey = 'a'",
            "FILE:2:15: tls.certificate: this is a certificate or a key itself; give the name of its file",
        ),
    ] {
        assert_eq!(file_error(content), error, "{content}");
    }
    for (words, remark) in [
        ("--tls-certificate a --tls-key a", Some("--tls-certificate changes nothing without --tls-listen")),
        ("--hsts max-age=1", Some("--hsts changes nothing without --tls-listen")),
        (
            "--redirect-to-https",
            Some("--redirect-to-https sends clients where nothing listens; add --tls-listen"),
        ),
        ("--redirect-to-https --trust-proxy ::1", None),
        ("--redirect-to-https --tls-listen :1 --tls-certificate a --tls-key a --hsts max-age=1", None),
    ] {
        let remark = remark.map(|remark| format!("{remark}, or a socket that is passed as https"));
        assert_eq!(config(&format!("{words} a:1"), &[]).idle_tls(), remark, "{words}");
    }
}

#[test]
fn a_promise_of_https_is_checked() {
    for valid in [
        "max-age=300",
        "max-age=0",
        "max-age=31536000; includeSubDomains; preload",
        "includesubdomains ; Max-Age = 1",
    ] {
        let file = Toml::new(format!("hsts = '{valid}'"));
        assert_eq!(config(&format!("a:1 {}", file.flag()), &[]).hsts.as_deref(), Some(valid));
    }
    for invalid in [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=12345678901",
        "max-age=\"300\"",
        "includeSubDomains",
        "max-age=1;",
        "max-age=1; max-age=2",
        "max-age=1, preload",
        "max-age=1; includeSubdomain",
        "max-age=1; preload=1",
        "max-age=1\\nX: y",
    ] {
        let file = Toml::new(format!("hsts = {invalid:?}"));
        assert!(try_load(&format!("a:1 {}", file.flag()), &[]).is_err(), "{invalid}");
    }
    assert_eq!(config("a:1 --hsts off", &[]).hsts, None);
}

#[cfg(feature = "tls")]
#[test]
fn a_backend_with_tls_may_stand_wherever_a_backend_may() {
    use super::Backend;
    let shown = |config: &Config| config.backend.iter().map(Backend::to_string).collect::<Vec<_>>();
    let both = ["https://a:8443", "https://b:443"];
    assert_eq!(shown(&config("https://a:8443 --backend https://b", &[])), both);
    assert_eq!(shown(&config("", &["RONDE_BACKEND=https://a:8443,https://b"])), both);
    let file = Toml::new(
        "backend-ca = 'ca.pem'\nbackend = ['https://a:8443', 'https://b']\n\
         [[route]]\npath = '/one'\nbackend-tls-insecure = true\nbackend = 'https://c'\n\
         [[route]]\npath = '/two'\nbackend-ca = 'system'\n\
         [[route.backend]]\naddress = 'https://d'\nweight = 2\n",
    );
    let read = config(&file.flag(), &[]);
    assert_eq!(shown(&read), both);
    let of = |route: &Route| {
        (shown(&route.config), route.config.backend_ca.clone(), route.config.backend_tls_insecure)
    };
    assert_eq!(
        read.route.iter().map(of).collect::<Vec<_>>(),
        [
            (vec!["https://c:443".into()], Some("ca.pem".into()), true),
            (vec!["https://d:443".into()], None, false)
        ]
    );
    let routed = config("--route /a=https://a:8443,https://b", &[]);
    assert_eq!(shown(&routed.route[0].config), both);
    for (words, notes) in [
        (
            "--backend-tls-insecure https://a b:1",
            &[
                "--backend-tls-insecure: whatever answers for https://a:443 is believed; --backend-ca names an issuer instead",
            ][..],
        ),
        ("--backend-ca ca.pem a:1", &["--backend-ca changes nothing without a backend with https://"]),
        (
            "--backend-tls-insecure a:1",
            &["--backend-tls-insecure changes nothing without a backend with https://"],
        ),
        ("--backend-ca ca.pem --route /a=https://a b:1", &[]),
        ("--backend-ca ca.pem --acme-challenge https://a b:1", &[]),
    ] {
        assert_eq!(loaded(words, &[]).notes, notes, "{words}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_backend_with_tls_needs_a_build_with_it() {
    for words in ["https://a", "--route /a=https://a b:1", "--acme-challenge https://a b:1"] {
        assert_eq!(
            error_of(words, &[]),
            "--backend: https://a:443 needs TLS, and this ronde was built without it"
        );
    }
}
