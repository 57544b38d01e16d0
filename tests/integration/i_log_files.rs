//! Logs in files: opened again after a rename, and no line lost, torn or in two of them.
//!
//! Not here: standard output and standard error (`i_log`).

use crate::harness::{
    Backend, Process, Proxy, Ronde, Wire, eventually, free_address, needs, ronde_only, scratch_directory,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Of a line that begins with a time and ends with the time that the request took.
fn is_whole(line: &str) -> bool {
    line.starts_with("20") && line.ends_with("ms host=\"a\"")
}

/// A ronde with one backend that writes its access lines here.
fn writing_to(path: &Path, backend: &Backend) -> Proxy {
    Proxy::with(&format!("--access-log-file {}", path.display()), &[backend.address])
}

fn stop(proxy: &mut Proxy) {
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.exit().code(), Some(0));
}

/// How often each target is in the logs of a directory, all lines of which are whole.
fn targets_in(directory: &Path) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("the directory") {
        let text = fs::read_to_string(entry.expect("a file").path()).expect("its text");
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
        for line in text.lines() {
            assert!(is_whole(line), "{line}");
            let number = line.split('/').nth(1).and_then(|number| number.parse().ok()).expect("a number");
            *found.entry(number).or_default() += 1;
        }
    }
    found
}

/// Four clients that ask for `/N/`, each N once, until `work` is done. Returns how many N there were.
fn while_clients_ask(proxy: &Proxy, work: impl FnOnce()) -> usize {
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(client.get(&format!("/{number}/")).text(), "b");
                }
            });
        }
        work();
        is_over.store(true, Ordering::Relaxed);
    });
    next.into_inner()
}

#[test]
fn both_logs_go_into_their_files_and_nothing_into_the_standard_streams() {
    ronde_only!();
    let (backend, directory, address) = (Backend::named("b"), scratch_directory(), free_address());
    let (access, log) = (directory.join("access.log"), directory.join("ronde.log"));
    let flags = format!("--access-log-file {} --log-file {}", access.display(), log.display());
    let mut process = Ronde::with(&format!("--listen {address} {flags} {}", backend.address)).spawn();
    eventually("it listens", || fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on ")));
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(0));
    assert_eq!((process.stdout.text(), process.stderr.text()), (String::new(), String::new()));
    let text = |path| fs::read_to_string(path).expect("a log");
    assert!(text(&log).lines().all(|line| line.contains("[INFO]")), "{}", text(&log));
    assert!(text(&log).contains("stopped: 1 request,"), "{}", text(&log));
    assert!(text(&access).lines().count() == 1 && text(&access).lines().all(is_whole), "{}", text(&access));
    for path in [&access, &log] {
        assert_eq!(fs::metadata(path).expect("a log").permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn both_files_are_opened_again() {
    ronde_only!();
    let (backend, directory, address) = (Backend::named("b"), scratch_directory(), free_address());
    let paths = ["access.log", "ronde.log"].map(|name| directory.join(name));
    let [access, log] = &paths;
    let flags = format!("--access-log-file {} --log-file {}", access.display(), log.display());
    let process = Ronde::with(&format!("--listen {address} {flags} {}", backend.address)).spawn();
    eventually("it listens", || fs::read_to_string(log).is_ok_and(|text| text.contains("listening on ")));
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    paths.iter().for_each(|path| fs::rename(path, path.with_extension("1")).expect("a rename"));
    process.signal(Signal::USR1);
    eventually("both are there again", || paths.iter().all(|path| path.exists()));
}

#[test]
fn twenty_renames_under_load_lose_and_tear_no_line() {
    ronde_only!();
    let (backend, directory) = (Backend::named("b"), scratch_directory());
    let path = directory.join("access.log");
    let mut proxy = writing_to(&path, &backend);
    let asked = while_clients_ask(&proxy, || {
        for number in 1..=20 {
            eventually("lines in the file", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
            fs::rename(&path, directory.join(format!("access.log.{number}"))).expect("a rename");
            proxy.process.signal(Signal::USR1);
            eventually("the file is opened again", || path.exists());
        }
    });
    stop(&mut proxy);
    assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 21);
    let found = targets_in(&directory);
    assert_eq!(found.len(), asked, "lines of {asked} requests");
    assert!(found.values().all(|count| *count == 1), "a line that is there twice");
}

#[test]
fn logrotate_rotates_under_load_and_no_line_is_lost() {
    ronde_only!();
    needs!(Logrotate);
    let (backend, directory) = (Backend::named("b"), scratch_directory());
    let (logs, state) = (directory.join("logs"), directory.join("state"));
    fs::create_dir(&logs).expect("a directory");
    let path = logs.join("access.log");
    let mut proxy = writing_to(&path, &backend);
    // It refuses a file that others than root may write.
    let (config, pid) = (directory.join("logrotate.conf"), proxy.process.id());
    let text = format!(
        "{} {{\n  rotate 30\n  missingok\n  nocompress\n  postrotate\n    kill -USR1 {pid}\n  endscript\n}}\n",
        path.display()
    );
    fs::write(&config, text).expect("its configuration");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("permissions");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o755)).expect("permissions");
    let asked = while_clients_ask(&proxy, || {
        for number in 1..=3 {
            let before = fs::metadata(&path).expect("the log").ino();
            let mut command = Command::new("logrotate");
            command.args(["--force", "--state"]).arg(&state).arg(&config);
            Process::spawn(&mut command).success();
            assert_eq!(fs::metadata(logs.join("access.log.1")).expect("the old log").ino(), before);
            let lines = || fs::metadata(&path).is_ok_and(|file| file.len() > 0);
            eventually(&format!("lines in the new file, {number}"), lines);
        }
    });
    stop(&mut proxy);
    let found = targets_in(&logs);
    assert!(found.len() == asked && found.values().all(|count| *count == 1), "{} of {asked}", found.len());
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_the_start_and_of_the_check() {
    ronde_only!();
    let backend = Backend::named("b");
    let directory = scratch_directory();
    let (missing, there) = (directory.join("no/a.log"), directory.join("a.log"));
    for flag in ["--access-log-file", "--log-file"] {
        let line = format!("--listen 127.0.0.1:0 {flag} {} {}", missing.display(), backend.address);
        let mut ronde = Ronde::with(&line).spawn();
        assert_eq!(ronde.exit().code(), Some(1));
        let said = format!("ronde: {} cannot be opened to write a log: No such file", missing.display());
        assert!(ronde.stderr.text().starts_with(&said), "{}", ronde.stderr.text());
        let check = |path: &Path| {
            let mut check =
                Ronde::with(&format!("check {flag} {} {}", path.display(), backend.address)).spawn();
            (check.exit().code(), check.stdout.text() + &check.stderr.text())
        };
        let (code, said) = check(&missing);
        assert!(code == Some(1) && said.contains("a.log cannot be opened to write a log"), "{said}");
        let (code, said) = check(&there);
        assert!(code == Some(0) && said.contains(&format!("log      {}\n", there.display())), "{said}");
        assert!(!there.exists(), "it would belong to the user who looks");
    }
}

#[test]
fn a_file_that_cannot_be_opened_again_stays_in_use() {
    ronde_only!();
    let (backend, directory) = (Backend::named("b"), scratch_directory());
    let (old, new) = (directory.join("old"), directory.join("new"));
    fs::create_dir(&old).expect("a directory");
    let mut proxy = writing_to(&old.join("access.log"), &backend);
    assert_eq!(proxy.get("/0/").text(), "b");
    fs::rename(&old, &new).expect("a rename");
    proxy.process.signal(Signal::USR1);
    let warning = proxy.process.stderr.line_with("cannot be opened to write a log");
    assert!(warning.contains("[WARN]") && warning.contains("the file that was open"), "{warning}");
    assert_eq!(proxy.get("/1/").text(), "b");
    stop(&mut proxy);
    assert_eq!(targets_in(&new).into_iter().collect::<Vec<_>>(), [(0, 1), (1, 1)]);
}

/// A limit of the file's size ends its growth as a full disk does. The next ronde finds what the full disk has torn.
#[test]
fn a_full_disk_loses_whole_lines_which_are_counted_and_the_next_ronde_ends_the_torn_one() {
    ronde_only!();
    let (backend, directory) = (Backend::named("b"), scratch_directory());
    let path = directory.join("access.log");
    let mut proxy = writing_to(&path, &backend);
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        let pid = Pid::from_raw(proxy.process.id() as i32);
        prlimit(pid, Resource::Fsize, limit).expect("a limit");
    };
    limit(Some(1000));
    let (mut client, mut asked) = (proxy.connect(), 0);
    eventually("the file is full", || {
        assert_eq!(client.get(&format!("/{asked}/")).text(), "b");
        asked += 1;
        proxy.process.stderr.text().contains("cannot write to ")
    });
    drop(client);
    stop(&mut proxy);
    let report = proxy.process.stderr.line_with("lines were lost: ");
    assert!(report.contains(&path.display().to_string()), "{report}");
    let lost: usize = report.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    let mut next = writing_to(&path, &backend);
    assert_eq!(next.get("/next/").text(), "b");
    stop(&mut next);
    let text = fs::read_to_string(&path).expect("the log");
    let (whole, torn): (Vec<_>, Vec<_>) = text.lines().partition(|line| is_whole(line));
    assert_eq!(whole.len() + lost, asked + 1, "{lost} were lost of {asked}, and the last one was not");
    assert!(text[..999].contains('\n') && torn.len() <= 1, "{torn:?}");
    assert!(whole.last().is_some_and(|line| line.contains("/next/")), "{text}");
}

#[test]
fn one_file_takes_both_logs() {
    ronde_only!();
    let (backend, path, address) = (Backend::named("b"), scratch_directory().join("all.log"), free_address());
    let file = path.display();
    let admin = free_address();
    let flags = format!("--access-log-file {file} --log-file {file} --admin {admin}");
    let mut process = Ronde::with(&format!("--listen {address} {flags} {}", backend.address)).spawn();
    eventually("it listens", || fs::read_to_string(&path).is_ok_and(|text| text.contains("listening on ")));
    let metrics =
        Wire::connect_plain(admin).ask(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n")).text();
    assert_eq!(metrics.matches("ronde_log_lines_lost_total{").count(), 1, "no sample is there twice");
    let mut client = Wire::connect(address);
    (0..100).for_each(|number| assert_eq!(client.get(&format!("/{number}/")).text(), "b"));
    process.signal(Signal::USR1);
    drop(client);
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(0));
    let text = fs::read_to_string(&path).expect("the log");
    let (lines, others): (Vec<_>, Vec<_>) = text.lines().partition(|line| is_whole(line));
    assert_eq!(lines.len(), 100, "{text}");
    assert!(others.iter().all(|line| line.contains("[INFO] ")), "{others:#?}");
}

#[test]
fn a_reload_may_begin_the_access_lines_and_another_path_takes_a_restart() {
    ronde_only!();
    let (backend, directory) = (Backend::named("b"), scratch_directory());
    let [file, log, elsewhere] =
        ["ronde.toml", "access.log", "elsewhere.log"].map(|name| directory.join(name));
    let write = |form: &str, path: &Path| {
        let (path, address) = (path.display(), backend.address);
        let text = format!("backend = '{address}'\naccess-log = '{form}'\naccess-log-file = '{path}'\n");
        fs::write(&file, text).expect("a file");
    };
    write("off", &log);
    let mut proxy = Ronde::with(&format!("--listen 127.0.0.1:0 --config {}", file.display())).serve();
    assert!(!log.exists(), "nothing is to be written to it");
    write("plain", &elsewhere);
    proxy.process.signal(Signal::HUP);
    proxy.process.stderr.line_with("access-log-file is another now, which takes a restart");
    assert_eq!(proxy.get("/1/").text(), "b");
    fs::rename(&log, directory.join("access.log.1")).expect("a rename");
    proxy.process.signal(Signal::USR1);
    eventually("there is another file", || log.exists());
    assert_eq!(proxy.get("/2/").text(), "b");
    stop(&mut proxy);
    assert!(fs::read_to_string(&log).expect("a log").contains("/2/"));
    assert!(!elsewhere.exists());
}
