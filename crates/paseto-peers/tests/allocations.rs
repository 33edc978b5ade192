//! How often the library asks the allocator, counted. What AWS-LC allocates inside itself is not seen here.

// `cfg(test)` tells clippy that the helpers are tests too.
#[cfg(test)]
mod counted {
    use allocation_counter::measure;
    use countersign_paseto::{
        Claims, Generates, Key, Kind, Local, Mints, Opens, Public, Purpose, Rules, Secret,
        SystemRandom, UntrustedToken, V2, V3, V4, mint_payload_with_footer,
    };
    use jiff::{SignedDuration, Timestamp};

    /// Runs `call` twice: the first time may set things up that a process needs once.
    fn allocations<T>(call: impl Fn() -> T) -> u64 {
        drop(call());
        measure(|| drop(call())).count_total
    }

    /// The decoded body, the decoded footer, and in some versions what is authenticated: none of them for the key.
    fn verify<V, K, P>(minting: &Key<V, K>, opening: &Key<V, P>, limit: u64)
    where
        V: Mints<K, Purpose = P> + Opens<P>,
        K: Kind,
        P: Purpose + Kind,
    {
        let token =
            mint_payload_with_footer(minting, &[b'x'; 201], b"foot", &SystemRandom).unwrap();
        let count = allocations(|| {
            let token = UntrustedToken::<V, P>::parse(&token).unwrap();
            token.open(opening).unwrap()
        });
        assert!(count <= limit, "{}.{}: {count}", V::TOKEN, P::NAME);
    }

    fn local<V: Generates<Local>>() -> Key<V, Local> {
        Key::generate(&SystemRandom).unwrap()
    }

    fn secret<V: Generates<Secret>>() -> Key<V, Secret> {
        Key::generate(&SystemRandom).unwrap()
    }

    #[test]
    fn a_verification_allocates_at_most_three_times() {
        let (v2, v3, v4) = (local::<V2>(), local::<V3>(), local::<V4>());
        verify(&v2, &v2, 2);
        verify(&v3, &v3, 3);
        verify(&v4, &v4, 2);
        let (v2, v3, v4) = (secret::<V2>(), secret::<V3>(), secret::<V4>());
        verify(&v2, &v2.public(), 2);
        verify(&v3, &v3.public(), 3);
        verify(&v4, &v4.public(), 2);
    }

    #[test]
    fn claims_cost_an_allocation_for_each_text_that_is_kept() {
        let now = Timestamp::UNIX_EPOCH;
        let (secret, rules) = (secret::<V4>(), Rules::new().audience("api"));
        let claims = Claims::new(())
            .audience("api")
            .subject("alice")
            .issued_at(now)
            .expires_at(now + SignedDuration::from_mins(10));
        let token = claims.mint(&secret, &SystemRandom).unwrap();
        let public = secret.public();
        let count = allocations(|| {
            let token = UntrustedToken::<V4, Public>::parse(&token).unwrap();
            token.verify::<()>(&public, &rules, now).unwrap()
        });
        let (body, texts) = (1, 2);
        assert_eq!(count, body + texts);
    }
}
