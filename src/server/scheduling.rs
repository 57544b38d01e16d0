//! The scheduling policy of all threads.
//!
//! The problem: a worker that wakes preempts the one that runs, which is about to wait for a socket anyway, and each switch
//! that is saved is a microsecond. Under SCHED_BATCH no thread preempts another on wake-up: 15 to 20 % more requests at 16
//! clients and more, on two cores. The acceptor runs after the busy workers then, so that most clients that it accepts
//! have sent their request.
//!
//! It is optional, so it fails softly: where the system refuses, ronde is only not faster. But a system call filter can
//! also kill a process for the call (systemd's `SystemCallFilter=~@resources` without `SystemCallErrorNumber=`). So there is
//! one call, on the thread that starts all others and before it listens: they inherit the policy (sched(7)), and a ronde
//! that is killed is killed at its start, by its supervisor's account, and not with clients in its hands.
//!
//! Not here: how many threads there are (`server`).

use crate::config::Scheduling;
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use thread_priority::{set_thread_priority_and_policy, thread_native_id};

/// Sets the policy of this thread, and so of all threads that it starts from here on.
pub fn set(policy: Scheduling) {
    // The call sets the niceness as well. The API maps it to 0..99; 47 is nice 0. A ronde that was made nicer on purpose
    // stays as it is.
    const NOT_NICE: u8 = 47;
    if policy == Scheduling::Inherit || rustix::process::getpriority_process(None) != Ok(0) {
        return;
    }
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let outcome =
        ThreadPriority::try_from(NOT_NICE).map_err(|error| error.to_string()).and_then(|priority| {
            let set = set_thread_priority_and_policy(thread_native_id(), priority, batch);
            set.map_err(|error| format!("{error:?}"))
        });
    if let Err(error) = outcome {
        log::debug!("the system permits no SCHED_BATCH: {error}");
    }
}
