//! Thread CPU time of one call: time in which another program has the processor does not count.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of one call of each contestant: the fastest of many batches, which take turns so that a slow moment of the
/// machine is everybody's.
pub fn race(contestants: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let calls: Vec<u32> = contestants
        .iter_mut()
        .map(|call| calls_within(BATCH, call))
        .collect();
    let mut fastest = vec![f64::INFINITY; contestants.len()];
    for _ in 0..ROUNDS {
        for ((call, calls), fastest) in contestants.iter_mut().zip(&calls).zip(&mut fastest) {
            *fastest = fastest.min(batch(*calls, call));
        }
    }
    fastest
}

/// Nanoseconds of one call.
pub fn nanoseconds(mut call: impl FnMut()) -> f64 {
    race(&mut [&mut call]).into_iter().sum()
}

/// How many calls fit into `budget`, by doubling.
fn calls_within(budget: Duration, call: &mut dyn FnMut()) -> u32 {
    let mut calls = 1;
    while batch(calls, call) * f64::from(calls) < budget.as_secs_f64() * 1e9 && calls < 1 << 30 {
        calls *= 2;
    }
    calls
}

/// Nanoseconds of one of `calls` calls, after some that warm the caches and do not count.
fn batch(calls: u32, call: &mut dyn FnMut()) -> f64 {
    (0..calls / 4).for_each(|_| call());
    let start = now();
    (0..calls).for_each(|_| call());
    (now() - start).as_secs_f64() * 1e9 / f64::from(calls)
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Long against the clock's resolution, short against a scheduler's time slice.
const BATCH: Duration = Duration::from_millis(1);
const ROUNDS: usize = 60;
