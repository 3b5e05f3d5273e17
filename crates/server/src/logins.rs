//! Failed logins: an address that guesses passwords is slowed down.
//!
//! ```text
//!   failures   1 … 10   11      12      13    …   17 and more
//!   interval   none     0.1 s   0.2 s   0.4 s …   5 s between two attempts
//! ```
//!
//! From the eleventh failure on, AUTH and HELLO of an address are looked at one by one, an interval apart, on however many
//! connections and shards they come; who is too early is held and tried again, as a client is by CLIENT PAUSE. Whoever
//! knows the password waits as well: before it has been looked at, nobody can tell. But a login that succeeds costs nobody
//! an interval, so that clients that share an address with one that has a wrong password come in one behind the other.
//! After a minute without a failure the address is forgotten.
//!
//! Invariants
//! - At most [`ADDRESSES_MAX`] addresses are kept; the one that failed longest ago makes room.
//! - An IPv6 address counts as its network of 64 bits, because whoever has one address of it has them all.
//! - Unix sockets count not at all.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::HashMap;

use crate::lock::{Level, Mutex};

/// Addresses kept.
const ADDRESSES_MAX: usize = 4096;

/// Failures that everybody may have.
const FREE_FAILURES: u32 = 10;

const INTERVAL_MIN_MS: u64 = 100;
const INTERVAL_MAX_MS: u64 = 5_000;

/// An address without a failure for so long is forgotten.
const FORGOTTEN_AFTER_MS: u64 = 60_000;

/// The addresses that have failed lately.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    by_address: Mutex<HashMap<IpAddr, Failures>, { Level::Logins as u8 }>,
    /// How many there are: AUTH takes no lock while it is 0. Written under the lock.
    addresses: AtomicUsize,
}

/// What is known of an address. Times are Unix times in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: u64,
    /// When its next attempt may be looked at.
    next_ms: u64,
}

impl Failures {
    fn interval_ms(self) -> u64 {
        match self.count.checked_sub(FREE_FAILURES + 1) {
            None => 0,
            Some(doublings) => (INTERVAL_MIN_MS << doublings.min(16)).min(INTERVAL_MAX_MS),
        }
    }
}

impl Logins {
    /// An attempt from `address`: `Err` says how many milliseconds it must wait, after which it asks again.
    pub(crate) fn admit(&self, address: IpAddr, now_ms: u64) -> Result<(), u64> {
        if self.addresses.load(Relaxed) == 0 {
            return Ok(());
        }
        let mut by_address = self.by_address.lock();
        let Some(failures) = by_address.get_mut(&network_of(address)) else { return Ok(()) };
        if now_ms < failures.next_ms {
            return Err(failures.next_ms - now_ms);
        }
        failures.next_ms = now_ms + failures.interval_ms();
        Ok(())
    }

    /// An attempt from `address` has succeeded: the next one need not wait for it.
    pub(crate) fn note_success(&self, address: IpAddr, now_ms: u64) {
        if self.addresses.load(Relaxed) > 0
            && let Some(failures) = self.by_address.lock().get_mut(&network_of(address))
        {
            failures.next_ms = now_ms;
        }
    }

    /// An attempt from `address` has failed.
    pub(crate) fn note_failure(&self, address: IpAddr, now_ms: u64) {
        let address = network_of(address);
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX && !by_address.contains_key(&address) {
            make_room(&mut by_address, now_ms);
        }
        let new = Failures { count: 0, last_ms: now_ms, next_ms: now_ms };
        let failures = by_address.entry(address).or_insert(new);
        if now_ms.saturating_sub(failures.last_ms) > FORGOTTEN_AFTER_MS {
            *failures = new;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last_ms = now_ms;
        failures.next_ms = now_ms + failures.interval_ms();
        self.addresses.store(by_address.len(), Relaxed);
    }
}

/// Forgets the addresses whose time is over; if there is none, the one that failed longest ago.
fn make_room(by_address: &mut HashMap<IpAddr, Failures>, now_ms: u64) {
    by_address.retain(|_, failures| now_ms.saturating_sub(failures.last_ms) <= FORGOTTEN_AFTER_MS);
    if by_address.len() >= ADDRESSES_MAX
        && let Some(oldest) =
            by_address.iter().min_by_key(|(_, failures)| failures.last_ms).map(|(&address, _)| address)
    {
        by_address.remove(&oldest);
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn an_address_that_fails_too_often_is_looked_at_an_interval_apart() {
        let logins = Logins::default();
        for _ in 0..FREE_FAILURES {
            assert_eq!(logins.admit(address(1), 1_000), Ok(()));
            logins.note_failure(address(1), 1_000);
        }
        let mut now_ms = 1_000;
        for interval_ms in [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            if interval_ms > 0 {
                assert_eq!(logins.admit(address(1), now_ms + interval_ms - 1), Err(1));
            }
            now_ms += interval_ms;
            assert_eq!(logins.admit(address(1), now_ms), Ok(()));
            logins.note_failure(address(1), now_ms);
        }
        // Of several at the same moment one is looked at.
        assert_eq!(logins.admit(address(1), now_ms + 5_000), Ok(()));
        assert_eq!(logins.admit(address(1), now_ms + 5_000), Err(5_000));
        assert_eq!(logins.admit(address(2), now_ms), Ok(()));
    }

    #[test]
    fn a_login_that_succeeds_keeps_nobody_waiting() {
        let logins = Logins::default();
        (0..100).for_each(|_| logins.note_failure(address(1), 0));
        for _ in 0..100 {
            assert_eq!(logins.admit(address(1), INTERVAL_MAX_MS), Ok(()));
            logins.note_success(address(1), INTERVAL_MAX_MS);
        }
        assert_eq!(logins.admit(address(1), INTERVAL_MAX_MS), Ok(()));
        logins.note_failure(address(1), INTERVAL_MAX_MS);
        assert_eq!(logins.admit(address(1), INTERVAL_MAX_MS), Err(INTERVAL_MAX_MS));
    }

    #[test]
    fn after_a_minute_an_address_begins_anew() {
        let logins = Logins::default();
        (0..100).for_each(|_| logins.note_failure(address(1), 0));
        logins.note_failure(address(1), FORGOTTEN_AFTER_MS + 1);
        assert_eq!(logins.admit(address(1), FORGOTTEN_AFTER_MS + 1), Ok(()));
    }

    #[test]
    fn the_table_has_a_bound_and_keeps_who_failed_last() {
        let logins = Logins::default();
        (0..2 * ADDRESSES_MAX as u32).for_each(|n| logins.note_failure(address(n), u64::from(n)));
        let by_address = logins.by_address.lock();
        assert_eq!(by_address.len(), ADDRESSES_MAX);
        assert!(
            by_address.contains_key(&address(2 * ADDRESSES_MAX as u32 - 1))
                && !by_address.contains_key(&address(0))
        );
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let logins = Logins::default();
        (0..100).for_each(|n| logins.note_failure(format!("2001:db8::{n}").parse().unwrap(), 0));
        assert!(logins.admit("2001:db8::ffff".parse().unwrap(), 0).is_err());
        assert!(logins.admit("2001:db8:0:1::1".parse().unwrap(), 0).is_ok());
    }
}
