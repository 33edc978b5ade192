//! The streams that an agent carries: counted, cut at a hard stop, waited for at a graceful one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign_channel::tunnel::{Counters, Cut, Ending, IntoEnd, RelayLimits, relay};
use tokio_util::task::TaskTracker;

use super::local::Local;
use crate::config::ServiceName;

/// All that the agent does for programs, as tasks that end before the agent does.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    tasks: TaskTracker,
    cut: Cut,
    counters: Counters,
}

impl Sessions {
    /// No streams yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Runs a task on behalf of a program; a hard stop ends it where it waits.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                _reason = cut.wait() => {}
            }
        });
    }

    /// Counts what a program said before its stream was open, which went with the request for it.
    pub(crate) fn said(&self, early: &[u8]) {
        let bytes = u64::try_from(early.len()).unwrap_or(u64::MAX);
        self.counters.to_remote.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Carries bytes between a program and a service until both directions ended or one failed.
    ///
    /// The gateway knows the service and its limits, so that there is none here.
    pub(crate) async fn carry(&self, local: Local, stream: impl IntoEnd, service: &ServiceName) {
        let limits = RelayLimits::default();
        let end = relay(local, stream, limits, &self.counters, &self.cut).await;
        let (sent, received) = (end.to_remote, end.to_local);
        match end.ending {
            Ending::Finished => tracing::debug!(%service, sent, received, "stream ended"),
            Ending::LocalFailed(error) => {
                tracing::info!(%service, sent, received, %error, "the program's end of a stream failed");
            }
            Ending::RemoteFailed(error) => {
                tracing::warn!(%service, sent, received, %error, "the gateway's end of a stream failed");
            }
            Ending::Cut(reason) => tracing::warn!(%service, sent, received, %reason, "stream cut"),
            Ending::IdleTimeout => tracing::info!(%service, sent, received, "stream idle"),
        }
    }

    /// How many programs are being served.
    pub(crate) fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until the last stream has ended, or cuts those that are left when the time is over.
    ///
    /// Gives the number of streams that were cut.
    pub(crate) async fn drain(&self, longest: Duration) -> usize {
        self.tasks.close();
        if tokio::time::timeout(longest, self.tasks.wait())
            .await
            .is_ok()
        {
            return 0;
        }
        let left = self.tasks.len();
        self.cut.cut("the agent stops");
        self.tasks.wait().await;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_the_last_stream() {
        let sessions = Sessions::new();
        sessions.spawn(tokio::time::sleep(Duration::from_secs(20)));
        assert_eq!(sessions.drain(Duration::from_secs(30)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_cuts_what_does_not_end() {
        let sessions = Sessions::new();
        sessions.spawn(std::future::pending());
        sessions.spawn(tokio::time::sleep(Duration::from_secs(20)));
        assert_eq!(sessions.drain(Duration::from_secs(30)).await, 1);
    }
}
