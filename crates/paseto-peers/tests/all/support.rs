//! Keys as text, and the libraries to ask.

use std::sync::LazyLock;

use countersign_paseto::{
    Generates, Holds, InsecureV1, Key, Local, Pairs, Random, RandomnessUnavailable, Secret,
    SystemRandom, V2, V3, V4,
};

use countersign_paseto_peers::{Countersign, Library, foreigners, linked};

/// Every library but ours.
pub(crate) fn others() -> Vec<Box<dyn Library>> {
    let foreign = foreigners().into_iter().map(|foreign| {
        let library: Box<dyn Library> = Box::new(foreign);
        library
    });
    let linked = linked().into_iter();
    linked
        .filter(|library| library.name() != Countersign.name())
        .chain(foreign)
        .collect()
}

/// One key of each kind, as plain PASERK.
pub(crate) struct Keys {
    pub(crate) local: String,
    pub(crate) secret: String,
    pub(crate) public: String,
}

impl Keys {
    /// Of versions 1 to 4, from `seed`.
    pub(crate) fn of_all_versions(seed: [u8; 48]) -> [Self; 4] {
        let random = Repeats(seed);
        [
            keys::<InsecureV1>(&random),
            keys::<V2>(&random),
            keys::<V3>(&random),
            keys::<V4>(&random),
        ]
    }
}

/// The RSA key is made once: that takes a while, and draws on AWS-LC's own randomness.
static RSA: LazyLock<String> = LazyLock::new(|| {
    let key = Key::<InsecureV1, Secret>::generate(&SystemRandom).unwrap();
    key.to_paserk().to_string()
});

fn keys<V>(random: &dyn Random) -> Keys
where
    V: Pairs + Generates<Local> + Generates<Secret> + Holds<Local>,
{
    let secret = match V::PASERK {
        "k1" => Key::<V, Secret>::from_paserk(&RSA).unwrap(),
        _ => Key::<V, Secret>::generate(random).unwrap(),
    };
    Keys {
        local: Key::<V, Local>::generate(random)
            .unwrap()
            .to_paserk()
            .to_string(),
        public: secret.public().to_paserk().to_string(),
        secret: secret.to_paserk().to_string(),
    }
}

/// Gives these bytes, from the first on at each call.
pub(crate) struct Repeats(pub(crate) [u8; 48]);

impl Random for Repeats {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        bytes.copy_from_slice(self.0.get(..bytes.len()).ok_or(RandomnessUnavailable)?);
        Ok(())
    }
}

/// The bytes in a plain PASERK.
pub(crate) fn data(paserk: &str) -> Vec<u8> {
    let (_, data) = paserk.rsplit_once('.').unwrap();
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(data).unwrap()
}
