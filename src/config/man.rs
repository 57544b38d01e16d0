//! The man pages, `ronde(1)` and `ronde.toml(5)`, made from the tables of commands and settings.
//!
//! The problem: a manual has what the help has no room for, the reasons above all, and is read where the README is not.
//! Written by hand it would be one more place for every setting to be wrong in. So it has no text about a setting that
//! is not in its row.
//!
//! Not here: how a text becomes roff (`roff`).

use super::command::{CONFIG_FLAG, CONFIG_VARIABLE};
use super::error::{Error, shown};

use super::help::{RELEASED, VERSION};
use super::keys::{BACKEND_KEYS, PAIR_KEYS};
use super::roff::Roff;
use super::{COMMANDS, Scope, Setting, TABLE, TEXTS, route};

/// The pages, by the names that man(1) has for them.
pub(super) const PAGES: [&str; 2] = ["ronde", "ronde.toml"];

/// The roff of a page; that of `ronde(1)`, if none is named.
pub(super) fn page(name: Option<&str>) -> Result<String, Error> {
    match name.unwrap_or("ronde") {
        "ronde" => Ok(program()),
        "ronde.toml" => Ok(file()),
        other => {
            Err(Error::at("--man", format_args!("{} is unknown; give ronde or ronde.toml", shown(other))))
        }
    }
}

fn program() -> String {
    let mut page = Roff::new("RONDE", 1, RELEASED, VERSION);
    page.section("NAME");
    page.text("ronde - HTTP/1.1 reverse proxy and load balancer");
    page.section("SYNOPSIS");
    for row in COMMANDS {
        let own: String = row.flags.iter().map(|own| format!(" [{own}]")).collect();
        page.line(&format!("{}{own}", row.usage));
    }
    for own in TEXTS {
        page.line(&format!("ronde {own}"));
    }

    page.section("DESCRIPTION");
    page.text("ronde forwards HTTP/1.1 requests to backends in round-robin order.");
    page.text(
        "A worker serves with plain blocking calls while bytes flow; what waits is parked, and holds no thread. \
         The number of threads is fixed, whatever clients and backends do.",
    );
    page.text(
        "Each setting below is a flag, a variable and a key of the file. A flag wins over a variable, a variable over \
         the file. A list replaces a weaker one: it is a repeated flag, an array in the file, and in the variable its \
         values are divided by commas.",
    );
    page.text(
        "A `TIME` is 500ms, 2s, 1m or 1h. A `SIZE` is bytes, or 64k, 1m, 2g. An address is `HOST:PORT`, or \
         `unix:/PATH` for a Unix socket. A word without a flag is a backend.",
    );

    page.section("COMMANDS");
    for row in COMMANDS {
        page.term(row.usage);
        page.text(&sentence(row.what));
        for own in row.flags {
            page.term(&own.to_string());
            page.text(&format!("Of `ronde {}`: {}", row.name, sentence_part(own.what)));
        }
    }
    for own in TEXTS {
        page.term(&format!("ronde {own}"));
        page.text(&sentence(own.what));
    }

    page.section("OPTIONS");
    page.term(&format!("{CONFIG_FLAG} FILE"));
    page.text(&format!("The configuration file, see ronde.toml(5). The variable is `{CONFIG_VARIABLE}`."));
    let mut group = "";
    for row in TABLE.iter() {
        if row.group != group {
            group = row.group;
            page.subsection(group);
        }
        page.term(format!("{} {}", row.flag, row.form).trim_end());
        describe(&mut page, row);
    }

    page.section("ENVIRONMENT");
    page.text(
        "An unknown variable that begins with `RONDE_` is ignored with a warning. An empty value is an error. Switches are \
         `true` or `false`.",
    );
    page.term(CONFIG_VARIABLE);
    page.text("The configuration file.");
    for row in TABLE.iter() {
        page.term(&row.variable());
        page.text(&format!("`{}`{}", row.flag, separated(row)));
    }

    page.section("FILES");
    page.term("/etc/ronde/ronde.toml");
    page.text("The file that the unit of systemd names. No file is read unless it is named.");
    page.section("EXIT STATUS");
    for (code, what) in [
        ("0", "Success; of a server: it was told to stop, and has."),
        ("1", "The command failed: a port in use, a backend that `ronde check` cannot reach."),
        (
            "2",
            "The command line, a variable or the file is invalid. One line on standard error says what, and where.",
        ),
        ("130", "A second Ctrl-C cut what was in flight."),
    ] {
        page.term(code);
        page.text(what);
    }
    page.section("SIGNALS");
    for (signal, what) in [
        (
            "TERM, QUIT, INT",
            "Stop: what is in flight has `--shutdown-grace` to end. A second Ctrl-C cuts it.",
        ),
        (
            "HUP",
            "Reload: read the whole configuration and the certificates again. A mistake changes nothing.",
        ),
        ("USR1", "Open the log files again."),
    ] {
        page.term(signal);
        page.text(what);
    }
    page.section("EXAMPLES");
    for (line, what) in [
        ("ronde demo", "Try it."),
        ("ronde --listen :80 app1:8000 app2:8000", "Two backends by turns, for everybody."),
        (
            "ronde check --config /etc/ronde/ronde.toml",
            "What the file means, and whether its backends answer.",
        ),
        (
            "ronde check --url http://example.com/api --config /etc/ronde/ronde.toml",
            "Where this request would go.",
        ),
    ] {
        page.term(line);
        page.text(what);
    }
    page.section("SEE ALSO");
    page.text("ronde.toml(5), systemd.service(5), curl(1)");
    page.finish()
}

fn file() -> String {
    let mut page = Roff::new("RONDE.TOML", 5, RELEASED, VERSION);
    page.section("NAME");
    page.text("ronde.toml - the configuration file of ronde(1)");
    page.section("DESCRIPTION");
    page.text(&format!(
        "A file in TOML, named by `{CONFIG_FLAG} FILE` or `{CONFIG_VARIABLE}`. Each setting is one key; a flag or a \
         variable wins over it. An unknown key is an error, with line and column. `ronde check --config FILE` says \
         what a file means."
    ));
    page.text(
        "A time is \"500ms\", \"2s\", \"1m\" or \"1h\"; a size is bytes, or \"64k\", \"1m\", \"2g\". What may be \
         repeated is a value or an array of values.",
    );
    page.section("EXAMPLE");
    page.verbatim(EXAMPLE);

    page.section("SETTINGS");
    page.text("At the top of the file, before the first table.");
    let mut group = "";
    for row in TABLE.iter() {
        if row.group != group {
            group = row.group;
            page.subsection(group);
        }
        key(&mut page, row);
        describe(&mut page, row);
    }

    page.section("TABLES");
    page.subsection("[[backend]]");
    page.text("A backend, instead of a text in the list `backend`.");
    BACKEND_KEYS.iter().for_each(|row| table_key(&mut page, row));
    page.subsection("[[tls]]");
    page.text("A certificate and its key, instead of `tls-certificate` and `tls-key`.");
    PAIR_KEYS.iter().for_each(|row| table_key(&mut page, row));
    page.subsection("[[route]]");
    page.text(
        "The requests of some hosts and a path, with an action: `backend`, `redirect` or `respond`. The most specific \
         route takes a request: a host before *.host before any host, then the longest path.",
    );
    route::KEYS.iter().for_each(|row| table_key(&mut page, row));
    let inherited: Vec<_> =
        TABLE.iter().filter(|row| row.scope == Scope::Route).map(|row| row.key()).collect();
    page.text(&format!("And of its own, where they differ from the top: `{}`.", inherited.join("`, `")));
    page.section("FILES");
    page.term("/etc/ronde/ronde.toml");
    page.text("The file that the unit of systemd names.");
    page.section("SEE ALSO");
    page.text("ronde(1)");
    page.finish()
}

const EXAMPLE: &str = "\
listen = \":80\"
queue-timeout = \"500ms\"

[[backend]]
address = \"app1:8000\"
weight = 2

[[backend]]
address = \"app2:8000\"

[[route]]
host = \"api.example.com\"
path = \"/v2\"
backend = [\"app3:8000\", \"app4:8000\"]
response-timeout = \"5s\"
";

/// What it is, its range, and why the default is what it is.
fn describe(page: &mut Roff, row: &Setting) {
    page.text(&sentence(row.what));
    if let Some((least, most)) = row.bounds {
        page.more(&format!("Allowed: {least} to {most}."));
    }
    if row.scope == Scope::Route {
        page.more("A route may have its own.");
    }
    // Of an empty list the reason says what that means.
    match row.default {
        "" => page.more(&format!("Default: {}", row.why)),
        default => page.more(&format!("Default: {default}. {}", row.why)),
    }
}

fn key(page: &mut Roff, row: &Setting) {
    page.term(&format!("{} = {}", row.key(), if row.form.is_empty() { "true" } else { row.form }));
}

fn table_key(page: &mut Roff, row: &Setting) {
    key(page, row);
    let range = row.bounds.map_or(String::new(), |(least, most)| format!(", {least} to {most}"));
    page.text(&sentence(&format!("{}{range}", row.what)));
}

fn separated(row: &Setting) -> String {
    match row.separator {
        None => String::new(),
        Some('\n') => ", a line for each".to_owned(),
        Some(separator) => format!(", divided by `{separator}`"),
    }
}

/// A half line of a table as a sentence.
fn sentence(what: &str) -> String {
    let mut letters = what.chars();
    letters
        .next()
        .map_or(String::new(), |first| format!("{}{}", first.to_uppercase(), sentence_part(letters.as_str())))
}

fn sentence_part(what: &str) -> String {
    if what.ends_with('.') { what.to_owned() } else { format!("{what}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Document;

    #[test]
    fn the_pages_name_every_setting_and_command() {
        let names = |page: &str, name: &str| {
            let name = name.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB{name}")), "{name}");
        };
        let (program, file) = (program(), file());
        for row in TABLE {
            names(&program, row.flag);
            names(&program, &row.variable());
            names(&file, row.key());
        }
        for row in COMMANDS {
            names(&program, row.usage);
            row.flags.iter().for_each(|own| names(&program, own.flag));
        }
        for row in route::KEYS.into_iter().chain(&BACKEND_KEYS).chain(&PAIR_KEYS) {
            names(&file, row.key());
        }
    }

    #[test]
    fn the_example_is_a_file() {
        assert_eq!(toml::from_str::<Document>(EXAMPLE).err(), None);
    }

    #[test]
    fn the_date_is_that_of_the_changelog() {
        let changelog = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/debian/changelog");
        let changelog = std::fs::read_to_string(changelog).unwrap();
        let (version, date) = VERSION.split_once(' ').map(|(_, version)| (version, RELEASED)).unwrap();
        let (year, day) = (&date[..4], &date[8..]);
        let stamp = changelog.lines().find(|line| line.starts_with(" -- ")).unwrap();
        assert!(changelog.starts_with(&format!("ronde ({version}")), "{changelog}");
        assert!(stamp.contains(&format!(", {day} ")) && stamp.contains(&format!(" {year} ")), "{stamp}");
    }
}
