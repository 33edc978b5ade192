//! What is measured: each token at two sizes, and what is done with keys.

use countersign_paseto::{
    Generates, InsecureV1, Key, Local, Pairs, Secret, SystemRandom, V2, V3, V4, V5,
};
use countersign_paseto_peers::{Countersign, Library, Question};

/// A line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) question: Question,
}

/// All lines, in the table's order.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (size, label) in [(201, "201 B"), (4096, "4 KiB")] {
        let payload = payload(size);
        tokens::<V4>(&mut rows, &payload, label);
        tokens::<V3>(&mut rows, &payload, label);
        tokens::<V2>(&mut rows, &payload, label);
        local_tokens::<InsecureV1>(&mut rows, &payload, label);
        tokens::<V5>(&mut rows, &payload, label);
    }
    on_keys::<V4>(&mut rows);
    on_keys::<V3>(&mut rows);
    on_keys::<V2>(&mut rows);
    rows
}

/// A JSON object of `size` bytes.
fn payload(size: usize) -> Vec<u8> {
    let (start, end) = (
        r#"{"sub":"alice","exp":"2039-01-01T00:00:00Z","data":""#,
        "\"}",
    );
    let data = "x".repeat(size - start.len() - end.len());
    format!("{start}{data}{end}").into_bytes()
}

fn tokens<V>(rows: &mut Vec<Row>, payload: &[u8], size: &str)
where
    V: Pairs + Generates<Local> + Generates<Secret>,
{
    local_tokens::<V>(rows, payload, size);
    let secret = secret::<V>();
    let (minting, opening) = (secret.to_paserk(), secret.public().to_paserk());
    let names = [
        format!("{}.public sign, {size}", V::TOKEN),
        format!("{}.public verify, {size}", V::TOKEN),
    ];
    mint_and_open(rows, names, &minting, &opening, payload);
}

fn local_tokens<V: Generates<Local>>(rows: &mut Vec<Row>, payload: &[u8], size: &str) {
    let key = local::<V>().to_paserk();
    let names = [
        format!("{}.local encrypt, {size}", V::TOKEN),
        format!("{}.local decrypt, {size}", V::TOKEN),
    ];
    mint_and_open(rows, names, &key, &key, payload);
}

fn mint_and_open(
    rows: &mut Vec<Row>,
    names: [String; 2],
    minting: &str,
    opening: &str,
    payload: &[u8],
) {
    let mint = Question::Mint {
        key: minting.to_owned(),
        payload: payload.to_vec(),
        footer: Vec::new(),
        assertion: Vec::new(),
    };
    let open = Question::Open {
        key: opening.to_owned(),
        token: answered(&mint),
        footer: Vec::new(),
        assertion: Vec::new(),
    };
    push_both(rows, names, [mint, open]);
}

/// Wrapping and sealing of a local key.
fn on_keys<V>(rows: &mut Vec<Row>)
where
    V: Pairs + Generates<Local> + Generates<Secret>,
{
    let (key, with, secret) = (
        local::<V>().to_paserk(),
        local::<V>().to_paserk(),
        secret::<V>(),
    );
    let wrap = Question::Wrap {
        key: key.to_string(),
        with: with.to_string(),
    };
    let unwrap = Question::Unwrap {
        paserk: answered(&wrap),
        with: with.to_string(),
    };
    let names = ["wrap", "unwrap"].map(|name| format!("{} pie {name}", V::PASERK));
    push_both(rows, names, [wrap, unwrap]);
    let seal = Question::Seal {
        key: key.to_string(),
        to: secret.public().to_paserk().to_string(),
    };
    let unseal = Question::Unseal {
        paserk: answered(&seal),
        with: secret.to_paserk().to_string(),
    };
    let names = ["seal", "unseal"].map(|name| format!("{} {name}", V::PASERK));
    push_both(rows, names, [seal, unseal]);
}

fn push_both(rows: &mut Vec<Row>, names: [String; 2], questions: [Question; 2]) {
    let both = names.into_iter().zip(questions);
    rows.extend(both.map(|(name, question)| Row { name, question }));
}

fn answered(question: &Question) -> String {
    let answer = Countersign.ask(question).expect("our own library answers");
    String::from_utf8(answer).expect("tokens and keys are text")
}

pub(crate) fn local<V: Generates<Local>>() -> Key<V, Local> {
    Key::generate(&SystemRandom).expect("there is randomness")
}

pub(crate) fn secret<V: Generates<Secret>>() -> Key<V, Secret> {
    Key::generate(&SystemRandom).expect("there is randomness")
}
