//! MEMORY PURGE: memory that was freed is given back to the system by a thread, which is there while somebody wants that.
//!
//! There is one such thread, however many ask: what was asked for before a purge begins is done with its end.

use std::sync::Arc;
use std::{fmt, io};

use crate::hooks;
use crate::lock::{Level, Mutex};

/// What is to be done once memory has been given back.
type Done = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct Purges(Mutex<Asked, { Level::Purges as u8 }>);

#[derive(Default)]
struct Asked {
    /// Since the last purge began.
    is_asked: bool,
    /// By those who wait for it.
    waiting: Vec<Done>,
    /// There is a thread.
    is_running: bool,
}

impl fmt::Debug for Purges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.0.lock();
        f.debug_struct("Purges")
            .field("waiting", &asked.waiting.len())
            .field("is_running", &asked.is_running)
            .finish()
    }
}

impl Purges {
    /// Has memory given back, and then does `done`, if anybody waits. Error: there is no thread, and nothing is done.
    pub(crate) fn ask(self: &Arc<Self>, done: Option<Done>) -> io::Result<()> {
        let mut asked = self.0.lock();
        if !asked.is_running {
            let purges = Arc::clone(self);
            std::thread::Builder::new().name("purge".to_owned()).spawn(move || purges.work())?;
            asked.is_running = true;
        }
        asked.is_asked = true;
        asked.waiting.extend(done);
        Ok(())
    }

    fn work(&self) {
        loop {
            let waiting = {
                let mut asked = self.0.lock();
                if !asked.is_asked {
                    asked.is_running = false;
                    return;
                }
                asked.is_asked = false;
                std::mem::take(&mut asked.waiting)
            };
            hooks::purge_memory();
            waiting.into_iter().for_each(|done| done());
        }
    }
}
