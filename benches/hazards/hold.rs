//! One proxy before thousands of slow clients: all are held, the witnesses see nothing of it, and some go on.
//!
//! The problem: a client that is slow costs a proxy memory and perhaps a thread for as long as it stays. So a row says
//! what one costs, what everyone else waits meanwhile, and whether a held client is as good as a new one: at the end
//! 300 of them finish what they began.
//!
//! Not here: the hazards that want to starve a proxy (`measure`).

use crate::cost::{Watch, await_socket_memory, is_socket_memory_short, socket_memory};
use crate::gathering::{Crowd, start_backends};
use crate::hazards::{Also, Hazard};
use crate::helper::Helper;
use crate::kinds::{GO_ON, Kind};
use crate::measure::count;
use crate::options::Options;
use crate::prober::{self, Seen};
use crate::proxies::Proxy;
use crate::stage::account;
use crate::witnesses::{DOWNLOADS, Paused, WebSockets, open_websockets};
use anyhow::Result;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

const P95: Duration = Duration::from_millis(10);
const WORST: Duration = Duration::from_secs(1);
/// What just arrived is being put away.
const SETTLING: Duration = Duration::from_secs(1);
/// In which the CPU of a proxy is counted that has only the crowd.
const REST: Duration = Duration::from_secs(5);
/// How long clients that go on may take. A reader still has up to 14 MB to come, and BBR, where that is the machine's
/// congestion control, believes for a while that the path is as slow as the reader was.
const FINISHING: Duration = Duration::from_secs(120);
/// If none finishes for so long, no more are waited for.
const STANDSTILL: Duration = Duration::from_secs(25);

/// A row while it is written.
#[derive(Default)]
struct Notes {
    text: String,
    missed: Vec<&'static str>,
}

impl Notes {
    fn say(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        self.text.push_str(text);
    }

    /// What should have been, and whether it was.
    fn expect(&mut self, what: &'static str, is_so: bool) {
        if !is_so {
            self.missed.push(what);
        }
    }
}

/// # Errors
/// Something does not start or ends early.
pub fn measure(hazard: &Hazard, name: &str, options: &Options) -> Result<String> {
    let mut notes = Notes::default();
    let crowds = scaled(hazard, options, &mut notes);
    await_socket_memory()?;
    let (mut backends, addresses) = start_backends()?;
    let proxy = Proxy::start(&options.programs, name, None, &addresses)?;
    let id = proxy.process.id();
    prober::probe(proxy.address, Duration::from_millis(500));
    let paused = (0..DOWNLOADS).map(|_| Paused::begin(proxy.address)).collect::<Result<Vec<_>>>()?;
    let watch = Watch::start(account::family(id));
    let (memory, sockets) = (account::memory(id)?, socket_memory()?);

    let gathering = Instant::now();
    let mut crowd = Crowd::gather(proxy.address, &crowds)?;
    let gathering = gathering.elapsed();
    thread::sleep(SETTLING);
    let before = account::cpu_time(id)?;
    thread::sleep(REST);
    let cpu = account::cpu_time(id)?.saturating_sub(before);

    let duration = if hazard.also == Also::HoldLong { options.steady } else { options.duration };
    let (seen, websockets, whole) = thread::scope(|scope| {
        let websockets = scope.spawn(|| open_websockets(proxy.address, duration));
        let whole = scope.spawn(|| paused.into_iter().filter_map(|paused| paused.finish().ok()).count());
        let seen = prober::probe(proxy.address, duration);
        (seen, websockets.join().unwrap_or_default(), whole.join().unwrap_or_default())
    });
    // After the time in which buffers may have grown.
    let memory = account::memory(id)?.saturating_sub(memory);
    let sockets = socket_memory()?.saturating_sub(sockets);
    let is_short = is_socket_memory_short()?;

    say_held(&mut notes, &mut crowd, gathering)?;
    let held = u64::try_from(crowd.held.max(1))?;
    let share = 100.0 * cpu.as_secs_f64() / REST.as_secs_f64();
    notes.say(&format!("{} B each", memory / held));
    notes.say(&format!("{} KB of sockets each", sockets / held / 1024));
    if is_short {
        notes.say("which is nearly all that tcp_mem allows");
    }
    notes.say(&format!("{share:.1} % CPU"));
    notes.say(&format!("{} at the backends", backends.tell("held")?.trim_start_matches("held=")));
    say_witnesses(&mut notes, &websockets, whole);
    if crowds.iter().all(|(kind, _)| *kind == Kind::Tunnel) {
        say_echoes(&mut notes, &mut crowd)?;
    }
    say_gone_on(&mut notes, &crowds, &mut crowd, &mut backends)?;
    notes.say(&format!("at most {} threads", watch.most()));
    Ok(row(hazard, &options.programs.label(name), &seen, notes))
}

/// The crowds, at the size that is wanted and that descriptors allow: two for each, and some.
fn scaled(hazard: &Hazard, options: &Options, notes: &mut Notes) -> Vec<(Kind, usize)> {
    let full: usize = hazard.crowds.iter().map(|(_, count)| count).sum();
    let wanted = if hazard.also == Also::Hold { options.size } else { full.min(options.size) };
    let most = usize::try_from(options.descriptors.saturating_sub(2_000) / 2).unwrap_or(usize::MAX);
    if wanted > most {
        notes.say(&format!("only {most} clients, as {} descriptors allow", options.descriptors));
    }
    let size = wanted.min(most);
    hazard.crowds.iter().map(|&(kind, count)| (kind, count * size / full)).collect()
}

fn say_held(notes: &mut Notes, crowd: &mut Crowd, gathering: Duration) -> Result<()> {
    let told = crowd.tell("tell")?;
    notes.say(&format!("{} of {} held", crowd.held, crowd.size));
    notes.expect("held", crowd.held == crowd.size);
    notes.say(&format!("there after {:.1} s", gathering.as_secs_f64()));
    let mut bad: Vec<_> = told.iter().filter(|(name, count)| is_bad(name) && **count > 0).collect();
    bad.sort();
    bad.iter().for_each(|(name, count)| notes.say(&format!("{count} {name}")));
    notes.expect("none cut", bad.is_empty());
    if count(&told, "events") > 0.0 {
        let ms = |name: &str| count(&told, name) / 1000.0;
        let (events, p95, worst) = (count(&told, "events"), ms("delay"), ms("worst"));
        notes.say(&format!("{events} events late by p95 {p95:.1} ms and at worst {worst:.1} ms"));
    }
    Ok(())
}

/// In a tally, a name that should not be there.
fn is_bad(name: &str) -> bool {
    let is_error = name.parse::<u16>().is_ok_and(|status| status != 101 && status != 200);
    is_error || ["refused", "broken", "cut", "wrong"].contains(&name)
}

fn say_witnesses(notes: &mut Notes, websockets: &WebSockets, whole: usize) {
    notes.say(&format!("{whole} of {DOWNLOADS} paused downloads whole"));
    notes.expect("paused downloads", whole == DOWNLOADS);
    let WebSockets { opened, failed, slowest } = websockets;
    notes.say(&format!("{opened} new WebSockets in at most {:.0} ms", slowest.as_secs_f64() * 1000.0));
    if *failed > 0 {
        notes.say(&format!("{failed} WebSockets failed"));
    }
    notes.expect("new WebSockets", *failed == 0 && *opened > 0);
}

/// All say a word at once.
fn say_echoes(notes: &mut Notes, crowd: &mut Crowd) -> Result<()> {
    let (size, told) = (crowd.size, crowd.held);
    let seen = go(crowd, None, told.max(GO_ON + 1), told)?;
    notes.say(&format!("{} of {size} echoes, {} within 1 s", seen.done, seen.within_1s));
    notes.say(&format!("the slowest after {:.2} s", seen.slowest.as_secs_f64()));
    notes.expect("echoes", seen.within_1s == size);
    Ok(())
}

fn say_gone_on(
    notes: &mut Notes,
    crowds: &[(Kind, usize)],
    crowd: &mut Crowd,
    backends: &mut Helper,
) -> Result<()> {
    let wanted = GO_ON.min(crowd.size);
    let seen = go(crowd, Some(backends), wanted, wanted)?;
    notes.say(&format!("{} of {wanted} go on", seen.done));
    // A reader has megabytes to read.
    if !crowds.iter().any(|(kind, _)| kind.reads()) {
        notes.say(&format!("{} within 2 s", seen.within_2s));
        notes.expect("within 2 s", seen.within_2s == wanted);
    }
    notes.say(&format!("the slowest after {:.2} s", seen.slowest.as_secs_f64()));
    notes.expect("go on", seen.done == wanted);
    Ok(())
}

struct GoneOn {
    done: usize,
    within_1s: usize,
    within_2s: usize,
    slowest: Duration,
}

/// Lets clients go on and waits for them, as long as more of them come.
fn go(crowd: &mut Crowd, backends: Option<&mut Helper>, count: usize, wanted: usize) -> Result<GoneOn> {
    crowd.tell(&format!("go {count}"))?;
    if let Some(backends) = backends {
        backends.tell(&format!("end {count}"))?;
    }
    let begun = Instant::now();
    let (mut most, mut last) = (0, begun);
    loop {
        thread::sleep(Duration::from_millis(100));
        let told = crowd.tell("tell")?;
        let number = |name: &str| told.get(name).copied().unwrap_or_default();
        let done = usize::try_from(number("done"))?;
        if done > most {
            (most, last) = (done, Instant::now());
        }
        if done >= wanted || last.elapsed() >= STANDSTILL || begun.elapsed() >= FINISHING {
            return Ok(GoneOn {
                done,
                within_1s: usize::try_from(number("done-1s"))?,
                within_2s: usize::try_from(number("done-2s"))?,
                slowest: Duration::from_micros(number("slowest")),
            });
        }
    }
}

fn row(hazard: &Hazard, name: &str, seen: &Seen, mut notes: Notes) -> String {
    notes.expect("p95", seen.times.p95 <= P95);
    notes.expect("worst", seen.times.worst <= WORST);
    notes.expect("none failed", seen.failed == 0);
    if let Some(why) = &seen.why {
        notes.say(&format!("first failure: {why}"));
    }
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    let (p50, p95, worst) = (ms(seen.times.p50), ms(seen.times.p95), ms(seen.times.worst));
    let mut verdict = "kept".to_owned();
    if !notes.missed.is_empty() {
        verdict.clear();
        let _ = write!(verdict, "MISSED: {}", notes.missed.join(", "));
    }
    let failed = format!("{} of {}", seen.failed, seen.asked);
    format!("| {} | {name} | {p50} | {p95} | {worst} | {failed} | {verdict} | {} |", hazard.name, notes.text)
}
