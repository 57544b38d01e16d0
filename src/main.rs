//! The `ronde` program: loads its settings, runs one command, and reports the outcome by its exit code.
//!
//! 0 is success; 1 means that the command failed (a port in use, a backend that `check` cannot reach); 2 means an
//! invalid command line, variable or file. No other module ends the process.

#![forbid(unsafe_code)]

use ronde::cli::{check, demo, health};
use ronde::config::waits;
use ronde::config::{self, Address, Backend, Command, Config, Explain, Loaded};
use ronde::net::passed::{self, Passed, PassedError};
use ronde::observe::logger::{self, Diagnostics, Logger};
use ronde::server::{self, Server, StartError, signals};
use std::fmt;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;

/// The exit code after a second Ctrl-C: 128 and the number of SIGINT, as a shell reports it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    // Before there is another thread: see there.
    let passed = passed::take();
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments == ["health"] {
        arguments.extend(health::arguments_of_the_container());
    }
    let Loaded { command, notes } = config::load(arguments, std::env::vars_os());
    // A server logs its notes; with any other command they stand before what may have come of them.
    if matches!(command, Ok(Command::Check(..)) | Err(_)) {
        notes.iter().for_each(print_note);
    }
    let command = match command {
        Ok(command) => command,
        Err(error) => return fail(&error, 2),
    };
    match command {
        Command::Print(text) => print(&text),
        Command::Version => print(&format!("{}\n", config::VERSION)),
        Command::Serve(config) => serve(config, passed, &notes, |_| {}),
        Command::Demo(config) => match with_demo_backends(config) {
            Ok(config) => serve(config, passed, &notes, welcome),
            Err(error) => fail(&error, 1),
        },
        Command::Check(config, scope) => match check::run(&config, &scope, &mut io::stdout()) {
            Ok(check::Verdict::Sound) => ExitCode::SUCCESS,
            Ok(check::Verdict::Faulty) | Err(_) => ExitCode::FAILURE,
        },
        Command::Health(config) => match health::ask(&config) {
            Ok(address) => print(&format!("ronde at {address} is well\n")),
            Err(unhealthy) => {
                notes.iter().for_each(print_note);
                fail(&unhealthy, 1)
            }
        },
    }
}

fn serve(
    config: Config,
    passed: Result<Vec<Passed>, PassedError>,
    notes: &[String],
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
    let served = run_server(config, passed, logger.clone(), announce);
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
    announce: fn(&Server),
) -> Result<(), StartError> {
    let (commander, orders) = server::orders();
    let last_lines = logger.clone();
    signals::handle(commander, move || {
        log::warn!("a second Ctrl-C: what is in flight is cut");
        last_lines.finish(waits::LAST_LINES);
        std::process::exit(INTERRUPTED);
    })?;
    let server = Server::bind(config, passed, logger, orders)?;
    log::info!("{} {}", config::VERSION, server.description());
    announce(&server);
    Ok(server.run()?)
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
    // Only a second one would be refused.
    let _ = WriteLogger::init(config.log_level, style.build(), Diagnostics::new(logger.clone()));
    Ok(logger)
}

/// Enough to see a new connection, a kept one, and the round come back to the first backend.
const FIRST_EXPLAINED: u64 = 4;

fn with_demo_backends(mut config: Config) -> io::Result<Config> {
    for number in 1..=2 {
        let address = demo::start_backend(number)?;
        config.backend.push(Backend::at(address));
    }
    if config.explain == Explain::Nothing {
        config.explain = Explain::First(FIRST_EXPLAINED);
    }
    Ok(config)
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
    let _ = writeln!(
        io::stdout(),
        "Two small backends are running. Try, in another terminal,\n\n    curl {url}\n    curl {url}\n\n\
         or open it in a browser and reload. Every request gets a line here, and of the first {FIRST_EXPLAINED} you read what becomes of them; Ctrl-C ends the demo.\n"
    );
}

fn print(text: &str) -> ExitCode {
    // A reader that has gone, as in `ronde --help | head -1`, is not a failure.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn print_note(note: &String) {
    let _ = writeln!(io::stderr(), "ronde: {note}");
}

fn fail(error: &impl fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "ronde: {error}");
    ExitCode::from(code)
}
