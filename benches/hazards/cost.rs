//! What a proxy costs beside CPU and its own memory: threads, and the kernel's buffers.
//!
//! Not here: what all benches count (`stage::account`).

use crate::network;
use anyhow::{Context, Result};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Two small files each time: cheap beside what they count.
const BETWEEN: Duration = Duration::from_millis(50);

/// The kernel counts socket memory in pages. Those of x86-64; an ARM machine may have larger ones.
const PAGE: u64 = 4096;
/// Of socket memory.
const LITTLE: u64 = 64 << 20;

/// Memory of all TCP sockets of this machine, in bytes: those of the backends and the clients too.
///
/// # Errors
/// `/proc` cannot be read.
pub fn socket_memory() -> Result<u64> {
    let stat = fs::read_to_string("/proc/net/sockstat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("TCP:")).context("/proc/net/sockstat")?;
    let pages: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
    Ok(pages * PAGE)
}

/// Whether all sockets together are near the most that the kernel gives them: then it drops what arrives, whatever the
/// proxy does.
///
/// # Errors
/// `/proc` cannot be read.
pub fn is_socket_memory_short() -> Result<bool> {
    Ok(socket_memory()? / PAGE > network::most_socket_pages() / 10 * 9)
}

/// Waits until the sockets of the row before have given back their memory: some are closed, and not empty yet.
///
/// # Errors
/// `/proc` cannot be read.
pub fn await_socket_memory() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while socket_memory()? > LITTLE && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Counts a proxy's threads again and again until it is dropped.
pub struct Watch {
    most: Arc<AtomicUsize>,
    has_ended: Arc<AtomicBool>,
}

impl Watch {
    pub fn start(pids: Vec<u32>) -> Self {
        let watch = Self { most: Arc::default(), has_ended: Arc::default() };
        let (most, has_ended) = (Arc::clone(&watch.most), Arc::clone(&watch.has_ended));
        thread::spawn(move || {
            while !has_ended.load(Ordering::Relaxed) {
                most.fetch_max(threads(&pids), Ordering::Relaxed);
                thread::sleep(BETWEEN);
            }
        });
        watch
    }

    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

fn threads(pids: &[u32]) -> usize {
    let threads = |pid: &u32| -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
    };
    pids.iter().filter_map(threads).sum()
}
