//! Waits for Ctrl-C, also while all threads are busy with a query.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

/// What is to happen at Ctrl-C beside waking who waits for it.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// Nothing: the shell goes on.
    GoOn,
    /// The process ends by itself after [`PATIENCE`], or at once at a second Ctrl-C, after `cleanup`.
    End {
        /// What must not stay behind.
        cleanup: fn(),
        /// The exit code.
        code: u8,
    },
}

/// How long a step that does not pause may go on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ctrl-C from now on.
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Receiver<()>);

impl Interrupts {
    /// Catch Ctrl-C. A thread of its own waits for it, because those of a query may all be busy.
    ///
    /// Fails if the system does not allow that.
    pub fn catch(then: Then) -> Result<Self> {
        let failed = "cannot catch Ctrl-C";
        let runtime = Builder::new_current_thread().enable_all().build().context(failed)?;
        let mut signals = {
            let _entered = runtime.enter();
            signal(SignalKind::interrupt()).context(failed)?
        };
        let (sender, receiver) = watch::channel(());
        let wait = move || {
            runtime.block_on(async {
                while signals.recv().await.is_some() {
                    sender.send_replace(());
                    if let Then::End { cleanup, code } = then {
                        let _ = timeout(PATIENCE, signals.recv()).await;
                        cleanup();
                        std::process::exit(code.into());
                    }
                }
            });
        };
        std::thread::Builder::new().name("interrupts".to_owned()).spawn(wait).context(failed)?;
        Ok(Self(receiver))
    }

    /// Wait for the next one.
    pub async fn next(&self) {
        let mut receiver = self.0.clone();
        receiver.mark_unchanged();
        if receiver.changed().await.is_err() {
            // The thread is gone, and with it Ctrl-C.
            std::future::pending::<()>().await;
        }
    }
}
