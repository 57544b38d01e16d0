//! One proxy before one hazard: freshly started, held, probed; one row of the table.

use crate::gathering::{Crowd, start_backends};
use crate::hazards::{Also, Hazard};
use crate::kinds::Kind;
use crate::options::Options;
use crate::prober::{self, Seen};
use crate::proxies::Proxy;
use crate::stage::account;
use anyhow::Result;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// What ronde promises.
const P95: Duration = Duration::from_millis(100);
const WORST: Duration = Duration::from_secs(1);

/// In which the CPU of a proxy that has nothing to do is counted.
const REST: Duration = Duration::from_secs(5);
/// "After the first seconds" a hung backend is known to be one.
const FIRST_SECONDS: Duration = Duration::from_secs(3);

/// ronde's workers in these rows: as few as anyone would give it.
const WORKERS: Option<&str> = Some("8");

/// # Errors
/// Something does not start or ends early.
pub fn measure(hazard: &Hazard, name: &str, options: &Options) -> Result<String> {
    let duration = options.duration;
    let (mut backends, addresses) = start_backends()?;
    let mut notes = String::new();
    // The healthy backend alone, with the same askers.
    let alone = match hazard.also {
        Also::Hang => Some(throughput(name, addresses[0], hazard, options)?),
        _ => None,
    };

    let proxy = Proxy::start(&options.programs, name, WORKERS, &addresses)?;
    prober::probe(proxy.address, Duration::from_millis(500));
    let memory = account::memory(proxy.process.id())?;
    let mut crowd = Crowd::gather(proxy.address_for(hazard), hazard.crowds)?;
    let _ = write!(notes, "{} of {} held", crowd.held, crowd.size);
    if hazard.also == Also::Cost {
        // What just arrived is being put away.
        thread::sleep(Duration::from_millis(500));
        let more = account::memory(proxy.process.id())?.saturating_sub(memory);
        let before = account::cpu_time(proxy.process.id())?;
        thread::sleep(REST);
        let cpu = account::cpu_time(proxy.process.id())?.saturating_sub(before);
        let share = 100.0 * cpu.as_secs_f64() / REST.as_secs_f64();
        let each = more / u64::try_from(crowd.held.max(1))?;
        let _ = write!(notes, ", {each} B each, {share:.1} % CPU at rest");
    }
    if hazard.also == Also::Hang {
        backends.tell("hang")?;
        thread::sleep(FIRST_SECONDS);
    }
    crowd.tell("mark")?;
    let begun = Instant::now();
    let mut seen = prober::probe(proxy.address, duration);
    let told = crowd.tell("tell")?;
    let _ = write!(notes, "{}", said(hazard, &told, begun.elapsed(), alone));
    if hazard.also == Also::Overload {
        let _ = write!(notes, "; meanwhile the prober: {} of {} failed", seen.failed, seen.asked);
        drop(crowd);
        thread::sleep(Duration::from_secs(1));
        seen = prober::probe(proxy.address, duration);
    }
    if let Some(why) = &seen.why {
        let _ = write!(notes, "; first failure: {why}");
    }
    Ok(row(hazard, &options.programs.label(name), &seen, &notes))
}

/// Requests a second that the askers of a hazard get from one backend alone.
fn throughput(name: &str, backend: SocketAddr, hazard: &Hazard, options: &Options) -> Result<f64> {
    let proxy = Proxy::start(&options.programs, name, WORKERS, &[backend])?;
    let mut crowd = Crowd::gather(proxy.address, hazard.crowds)?;
    crowd.tell("mark")?;
    let begun = Instant::now();
    // With a prober, as later.
    prober::probe(proxy.address, options.duration / 2);
    let told = crowd.tell("tell")?;
    Ok(count(&told, "200") / begun.elapsed().as_secs_f64())
}

pub fn count(told: &HashMap<String, u64>, name: &str) -> f64 {
    let count = told.get(name).copied().unwrap_or_default();
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What the crowd itself has met with.
fn said(hazard: &Hazard, told: &HashMap<String, u64>, elapsed: Duration, alone: Option<f64>) -> String {
    let mut text = String::new();
    let mut names: Vec<_> = told.iter().filter(|(_, count)| **count > 0).collect();
    names.sort();
    let is_told = |name: &str| {
        name.parse::<u16>().is_ok() || ["refused", "broken", "cut", "unanswered"].contains(&name)
    };
    for (name, count) in names.into_iter().filter(|(name, _)| is_told(name)) {
        let _ = write!(text, ", {count} {name}");
    }
    let ms = |name: &str| count(told, name) / 1000.0;
    if count(told, "handshakes") > 0.0 {
        let _ = write!(text, ", {:.0} handshakes/s", count(told, "handshakes") / elapsed.as_secs_f64());
    }
    if count(told, "events") > 0.0 {
        let events = count(told, "events");
        let _ = write!(text, ", {events} events: p95 {:.1}, worst {:.1} ms", ms("delay"), ms("worst"));
    }
    if let Some(alone) = alone {
        let rate = count(told, "200") / elapsed.as_secs_f64();
        let lost =
            ["502", "503", "504", "unanswered", "broken"].map(|name| count(told, name)).iter().sum::<f64>();
        let success = 100.0 * count(told, "200") / (count(told, "200") + lost).max(1.0);
        let _ = write!(
            text,
            ", askers: {success:.2} % succeed, {rate:.0}/s of {alone:.0}/s alone ({:.0} %)",
            100.0 * rate / alone
        );
    }
    if hazard.crowds.iter().any(|(kind, _)| matches!(kind, Kind::Asker | Kind::LateAsker)) {
        let _ =
            write!(text, ", a 200 took p95 {:.0} ms, the longest answer {:.0} ms", ms("p95"), ms("longest"));
    }
    text
}

fn row(hazard: &Hazard, name: &str, seen: &Seen, notes: &str) -> String {
    // A request that a hung backend has swallowed is lost, and nobody can know it in time.
    let allowed = if hazard.also == Also::Hang { seen.asked / 100 } else { 0 };
    let is_kept =
        seen.times.p95 <= P95 && seen.failed <= allowed && (seen.times.worst <= WORST || seen.failed > 0);
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    let (p50, p95, worst) = (ms(seen.times.p50), ms(seen.times.p95), ms(seen.times.worst));
    let verdict = if is_kept { "kept" } else { "MISSED" };
    let failed = format!("{} of {}", seen.failed, seen.asked);
    format!("| {} | {name} | {p50} | {p95} | {worst} | {failed} | {verdict} | {notes} |", hazard.name)
}
