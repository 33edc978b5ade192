//! Thread CPU time of one call: time in which another program has the processor does not count.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of one call of each contestant: the fastest of many, which take turns so that a slow moment of the machine is
/// everybody's.
pub fn race<const N: usize>(contestants: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut fastest = [Duration::MAX; N];
    let mut contestants = contestants;
    for _ in 0..ROUNDS {
        for (call, fastest) in contestants.iter_mut().zip(&mut fastest) {
            let start = now();
            call();
            *fastest = now().saturating_sub(start).min(*fastest);
        }
    }
    fastest.map(|time| time.as_secs_f64() * 1e6)
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A verification takes 0.2 to 10 ms: a hundred times the clock's resolution, a fraction of a scheduler's time slice.
const ROUNDS: usize = 200;
