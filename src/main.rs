//! The `ronde` program: loads its settings, runs one command, and reports the outcome by its exit code.
//!
//! 0 is success; 1 means that the command failed (a port in use, a backend that `check` cannot reach); 2 means an
//! invalid command line, variable or file. No other module ends the process.

#![forbid(unsafe_code)]

use ronde::cli::{admin, check, demo, health};
use ronde::config::waits;
use ronde::config::{self, Address, Backend, Command, Config, Explain, Loaded};
use ronde::net::listener::Listener;
use ronde::net::passed::{self, Passed, PassedError};
use ronde::observe::logger::{self, Diagnostics, Logger};
use ronde::server::{self, Reader, Reread, Server, StartError, signals};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code after a second Ctrl-C: 128 and the number of SIGINT, as a shell reports it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    // It removes variables from the environment, which no other thread may read meanwhile.
    let passed = passed::take();
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // Before the arguments of process 1 are appended, which may name backends, too.
    if let Some(fault) = admin::too_many_backends(&arguments) {
        return fail(&fault, 2);
    }
    if arguments == ["health"] || admin::is_bare(&arguments) {
        arguments.extend(health::arguments_of_the_container());
    }
    let Loaded { command, notes } = config::load(arguments.clone(), std::env::vars_os());
    // A server logs its notes; with any other command they stand before what may have come of them.
    if matches!(command, Ok(Command::Check(..)) | Err(_)) {
        notes.iter().for_each(print_line);
    }
    let command = match command {
        Ok(command) => command,
        Err(error) => return fail(&error, 2),
    };
    match command {
        Command::Print(text) => print(&text),
        Command::Version => print(&format!("{}\n", config::VERSION)),
        Command::Serve(config) => serve(config, passed, &notes, reader(arguments, None), None, |_| {}),
        Command::Demo(config) => match Demo::start() {
            Ok((demo, admin)) => {
                let config = demo.complete(config);
                let admin = admin.filter(|_| config.admin.is_none());
                serve(config, passed, &notes, reader(arguments, Some(demo)), admin, welcome)
            }
            Err(error) => fail(&error, 1),
        },
        Command::Check(config, scope) => match check::run(&config, &scope, &mut io::stdout()) {
            Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
            Ok(faults) => {
                faults.iter().for_each(print_line);
                ExitCode::FAILURE
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            Err(error) => fail(&format_args!("the check was not finished: {error}"), 1),
        },
        Command::Admin(config, instruction) => match admin::run(&config, &instruction, &mut io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                notes.iter().for_each(print_line);
                fail(&failed, 1)
            }
        },
        Command::Health(config) => match health::ask(&config) {
            Ok(address) => print(&format!("ronde at {address} is well\n")),
            Err(unhealthy) => {
                notes.iter().for_each(print_line);
                fail(&unhealthy, 1)
            }
        },
    }
}

/// Reads the configuration again, from the same command line, environment and file.
fn reader(arguments: Vec<OsString>, demo: Option<Demo>) -> Reader {
    Arc::new(move || {
        let Loaded { command, notes } = config::load(arguments.clone(), std::env::vars_os());
        let config = match command {
            Ok(Command::Serve(config)) => Ok(config),
            Ok(Command::Demo(config)) => match &demo {
                Some(demo) => Ok(demo.complete(config)),
                None => Ok(config),
            },
            Ok(_) => Err("the command line asks for no server".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Reread { config, notes }
    })
}

fn serve(
    config: Config,
    passed: Result<Vec<Passed>, PassedError>,
    notes: &[String],
    read: Reader,
    admin: Option<Listener>,
    announce: fn(&Server),
) -> ExitCode {
    let passed = match passed {
        Ok(passed) => passed,
        Err(error) => return fail(&error, 1),
    };
    let logger = match start_logger(&config) {
        Ok(logger) => logger,
        Err(error) => return fail(&error, 1),
    };
    notes.iter().for_each(|note| log::warn!("{note}"));
    let served = run_server(config, passed, logger.clone(), read, admin, announce);
    logger.finish(waits::LAST_LINES);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn run_server(
    config: Config,
    passed: Vec<Passed>,
    logger: Logger,
    read: Reader,
    admin: Option<Listener>,
    announce: fn(&Server),
) -> Result<(), StartError> {
    let (commander, orders) = server::orders();
    let last_lines = logger.clone();
    signals::handle(commander, move || {
        log::warn!("a second Ctrl-C: what is in flight is cut");
        last_lines.finish(waits::LAST_LINES);
        std::process::exit(INTERRUPTED);
    })?;
    let mut server = Server::bind(config, passed, logger, orders)?;
    server.open_admin_to(admin);
    log::info!("{} {}", config::VERSION, server.description());
    announce(&server);
    Ok(server.run(read)?)
}

/// From here on, diagnostics go through the logger. In the journal of systemd they carry no time: it adds its own.
fn start_logger(config: &Config) -> Result<Logger, logger::StartError> {
    use simplelog::{ConfigBuilder, LevelFilter, WriteLogger};
    let logger = Logger::start(config)?;
    let mut style = ConfigBuilder::new();
    style.set_thread_level(LevelFilter::Off).set_target_level(LevelFilter::Off);
    style.set_location_level(LevelFilter::Off).set_time_format_rfc3339();
    if config.log_file.is_none() && logger::is_journal() {
        style.set_time_level(LevelFilter::Off);
    }
    // It lets everything through: a reload may change the level. Only a second one would be refused.
    let _ = WriteLogger::init(LevelFilter::Trace, style.build(), Diagnostics::new(logger.clone()));
    log::set_max_level(config.log_level);
    Ok(logger)
}

/// Enough to see a new connection, a kept one, and the round come back to the first backend.
const FIRST_EXPLAINED: u64 = 4;

/// What the demo has and no user has configured.
struct Demo {
    backends: Vec<Backend>,
}

impl Demo {
    /// With its admin listener, which it can do without.
    fn start() -> io::Result<(Self, Option<Listener>)> {
        let backends = (1..=2).map(|number| demo::start_backend(number).map(Backend::at));
        Ok((Self { backends: backends.collect::<io::Result<_>>()? }, demo::admin_listener().ok()))
    }

    fn complete(&self, mut config: Config) -> Config {
        config.backend.extend_from_slice(&self.backends);
        if config.explain == Explain::Nothing {
            config.explain = Explain::First(FIRST_EXPLAINED);
        }
        config
    }
}

/// Prints the commands to try, with the address that ronde listens on.
fn welcome(server: &Server) {
    let url = match server.addresses().into_iter().next() {
        None => return,
        Some(Address::Tcp(mut address)) => {
            if address.ip().is_unspecified() {
                address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            format!("http://{address}")
        }
        Some(Address::Unix(path)) => format!("--unix-socket {} http://localhost", path.display()),
    };
    let page = match server.admin_addresses().first() {
        Some(Address::Tcp(admin)) => format!("Watch it live: http://{admin}\n\n"),
        Some(Address::Unix(_)) | None => String::new(),
    };
    let _ = writeln!(
        io::stdout(),
        "{page}Two small backends are running. Try, in another terminal,\n\n    curl {url}\n    curl {url}\n\n\
         or open it in a browser and reload. Every request gets a line here, and of the first {FIRST_EXPLAINED} you read what becomes of them; Ctrl-C ends the demo.\n"
    );
}

fn print(text: &str) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has gone, as in `ronde --help | head -1`, is not a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format_args!("standard output: {error}"), 1)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn print_line(line: &String) {
    let _ = writeln!(io::stderr(), "ronde: {line}");
}

fn fail(error: &impl fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "ronde: {error}");
    ExitCode::from(code)
}
