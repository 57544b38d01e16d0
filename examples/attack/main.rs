//! Attacks on a proxy: what a few clients can do to everybody else.
//!
//! ```console
//! $ cargo run --example attack                          # lists the attacks
//! $ cargo run --example attack -- idle 03               # against a step of the ladder
//! $ cargo run --example attack -- idle ronde            # against ronde
//! $ cargo run --example attack -- idle 127.0.0.1:8080   # against any proxy in front of 127.0.0.1:9001 and :9002
//! ```
//!
//! The attack starts two backends and the proxy, watches for a moment how everybody else is served, begins, and goes on
//! watching. Its last line is the verdict, and so is its exit code: 0 if the proxy stands, 1 if it falls, 2 if the attack
//! could not be tried. It never leaves this machine, and holds some dozens of connections at most.
//!
//! Reading order: `attacks` (what each one does), `arena` (what all have in common), `witness` (everybody else), `client`,
//! `backend`, `target`.

mod arena;
mod attacks;
mod backend;
mod client;
mod target;
mod witness;

use arena::{Arena, Verdict};
use attacks::{ATTACKS, Attack};
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, against] = &words[..] else { return usage() };
    let Some(attack) = ATTACKS.iter().find(|attack| attack.name == name) else { return usage() };
    match play(attack, against) {
        Ok(Verdict::Stands(why)) => {
            println!("\nstands: {why}");
            ExitCode::SUCCESS
        }
        Ok(Verdict::Falls(why)) => {
            println!("\nfalls: {why}");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("cannot attack {against}: {error}");
            ExitCode::from(2)
        }
    }
}

fn play(attack: &Attack, against: &str) -> io::Result<Verdict> {
    println!("{}: {}", attack.name, attack.what);
    let mut arena = Arena::open(against)?;
    arena.watch_calm()?;
    println!("           --- the attack begins ---");
    (attack.play)(&mut arena)
}

fn usage() -> ExitCode {
    eprintln!("usage: attack NAME AGAINST\n");
    eprintln!(
        "AGAINST is a step of the ladder (03), ronde, a path of either, or the address of a proxy that runs already"
    );
    eprintln!("in front of {} and {}.\n", target::BACKENDS[0], target::BACKENDS[1]);
    for attack in &ATTACKS {
        eprintln!("  {:13} {}", attack.name, attack.what);
    }
    ExitCode::from(2)
}
