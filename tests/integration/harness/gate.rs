//! A gate at which backends wait until the test lets all of them go on.
//!
//! Not here: what they wait for.

use std::sync::{Arc, Condvar, Mutex};

/// Closed until it is opened once.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().expect("the gate") = true;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let shut = self.0.0.lock().expect("the gate");
        drop(self.0.1.wait_while(shut, |is_open| !*is_open).expect("the gate"));
    }
}
