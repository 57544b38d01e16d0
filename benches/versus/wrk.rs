//! Runs wrk with a Lua script, which sets the requests and prints the results as one line of numbers.

use crate::cells::{Cell, Connections};
use crate::stage::site::Site;
use crate::stage::tools::Tool;
use anyhow::{Context, Result};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::Read;
use std::iter::Sum;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The start of the line of numbers.
const MARK: &str = "ronde-bench";

/// wrk calls this at the end. Latencies and the duration are in microseconds.
const DONE: &str = r#"
done = function(summary, latency, requests)
    local e = summary.errors
    print(table.concat({ "ronde-bench", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        e.connect, e.read, e.write, e.timeout, e.status }, " "))
end
"#;

/// Each request is for the next of the `names`; each thread of wrk begins at another.
const SPREAD: &str = r#"
local threads = 0
setup = function(thread)
    thread:set("turn", threads * 501)
    threads = threads + 1
end
local requests = {}
init = function()
    for place, name in ipairs(names) do
        wrk.headers["Host"] = name
        requests[place] = wrk.format()
    end
end
request = function()
    turn = turn % #requests + 1
    return requests[turn]
end
"#;

/// The numbers that wrk printed.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub requests: u64,
    pub duration: Duration,
    pub p50: Duration,
    pub p99: Duration,
    pub errors: Errors,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    pub connect: u64,
    pub read: u64,
    pub write: u64,
    pub timeout: u64,
    pub status: u64,
}

/// A running wrk; dropping it kills it.
#[derive(Debug)]
pub struct Wrk(Child);

impl Wrk {
    /// Starts wrk with the load of a cell.
    ///
    /// # Errors
    /// The script cannot be written, or wrk cannot be started.
    pub fn start(wrk: &Tool, cell: &Cell, address: SocketAddr, seconds: u64, scratch: &Path) -> Result<Self> {
        let file = scratch.join("wrk.lua");
        fs::write(&file, script(cell))?;
        let child = Command::new(&wrk.path)
            .arg(format!("-t{}", cell.clients.min(2)))
            .arg(format!("-c{}", cell.clients))
            .arg(format!("-d{seconds}s"))
            .args(["--timeout", "10s", "--latency", "-s"])
            .arg(&file)
            .arg(format!("{}://{address}{}", if cell.tls.is_some() { "https" } else { "http" }, cell.path))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting wrk")?;
        Ok(Self(child))
    }

    /// Waits for wrk to end and parses its results.
    ///
    /// # Errors
    /// wrk failed, or its output has no line of numbers.
    pub fn finish(mut self) -> Result<Outcome> {
        let mut output = String::new();
        self.0.stdout.take().context("wrk's output")?.read_to_string(&mut output)?;
        self.0.wait()?;
        let numbers = output.lines().find_map(|line| line.strip_prefix(MARK));
        numbers.and_then(Outcome::parse).with_context(|| format!("wrk printed:\n{output}"))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Outcome {
    fn parse(numbers: &str) -> Option<Self> {
        let numbers: Vec<u64> =
            numbers.split_whitespace().map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [requests, duration, p50, p99, connect, read, write, timeout, status] = numbers[..] else {
            return None;
        };
        Some(Self {
            requests,
            duration: Duration::from_micros(duration),
            p50: Duration::from_micros(p50),
            p99: Duration::from_micros(p99),
            errors: Errors { connect, read, write, timeout, status },
        })
    }
}

impl Sum for Errors {
    fn sum<I: Iterator<Item = Self>>(errors: I) -> Self {
        errors.fold(Self::default(), |sum, next| Self {
            connect: sum.connect + next.connect,
            read: sum.read + next.read,
            write: sum.write + next.write,
            timeout: sum.timeout + next.timeout,
            status: sum.status + next.status,
        })
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect, read, write, timeout, status } = *self;
        let kinds = [
            (connect, "connect"),
            (read, "read"),
            (write, "write"),
            (timeout, "timeout"),
            (status, "status"),
        ];
        let occurred = kinds.iter().filter(|(count, _)| *count > 0);
        let occurred: Vec<_> = occurred.map(|(count, kind)| format!("{count} {kind}")).collect();
        f.write_str(&occurred.join(", "))
    }
}

fn script(cell: &Cell) -> String {
    let mut script = String::new();
    if let Some(length) = cell.body {
        let _ = writeln!(script, "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {length})");
    }
    if cell.connections == Connections::OnePerRequest {
        script.push_str("wrk.headers[\"Connection\"] = \"close\"\n");
    }
    for (name, value) in FIELDS.iter().take(cell.fields - 1) {
        let _ = writeln!(script, "wrk.headers[{name:?}] = {value:?}");
    }
    if cell.site == Site::Names {
        let names: Vec<_> = cell.site.names().iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(script, "local names = {{ {} }}\n{SPREAD}", names.join(", "));
    }
    script + DONE
}

/// Field lines of a browser behind a few gateways, without Host.
const FIELDS: [(&str, &str); 29] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "fr-CH,fr;q=0.9,en;q=0.8,de;q=0.7,*;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "http://www.example.org/a/page/that/links/here?with=a&query=string"),
    ("Origin", "http://www.example.org"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=necessary"),
    ("DNT", "1"),
    ("Sec-GPC", "1"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-CH-UA", "\"Not A Brand\";v=\"99\""),
    ("Sec-CH-UA-Mobile", "?0"),
    ("Sec-CH-UA-Platform", "\"Linux\""),
    ("Priority", "u=0, i"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
    ("If-None-Match", "W/\"0123456789abcdef\""),
    ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ("X-Requested-With", "XMLHttpRequest"),
    ("X-Request-ID", "f058ebd6-02f7-4d3f-942e-904344e8cde5"),
    ("X-CSRF-Token", "i8XNjC4b8KVok4uw5RftR38Wgp2BFwql"),
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ("X-Client-Version", "12.4.1"),
];
