//! What an event log says of how a machine was started, as named facts: Secure Boot, boot loaders, kernels.
//!
//! The log comes from the machine, and only digests in it are quoted: kinds, names and data are the machine's word unless the data is
//! what was measured. So a fact is taken from data only where it hashes to its digest, and a list of images leaves out only what is
//! proven to be none. Whoever controls the running system can measure more, and never less: of what occurs twice the first counts.

use std::collections::BTreeMap;

use super::event_log::Event;
use super::hash::HashAlgorithm;
use crate::appraisal::Fact;
use crate::hex;

/// The facts of events that replay.
pub(super) fn facts(events: &[&Event], bank: HashAlgorithm) -> BTreeMap<&'static str, Fact> {
    let mut facts = BTreeMap::new();
    for (name, fact) in events.iter().filter_map(|event| variable(event, bank)) {
        facts.entry(name).or_insert(fact);
    }
    for (name, is_one) in IMAGES {
        let images = events.iter().filter(|event| is_one(event, bank));
        let digests = images.filter_map(|event| event.digests.get(&bank));
        let digests: Vec<String> = digests.map(|digest| hex::encode(digest)).collect();
        if !digests.is_empty() {
            facts.insert(name, Fact::List(digests));
        }
    }
    if let Some(line) = events.iter().find_map(|event| command_line(event, bank)) {
        facts.insert("kernel_command_line", Fact::Text(line));
    }
    facts
}

/// What an event is, for people: its kind and, where it has one, a name.
pub(super) fn describe(event: &Event) -> String {
    let kind = KINDS.iter().find(|(kind, _)| *kind == event.kind);
    let kind = kind.map_or_else(
        || format!("event {:#x}", event.kind),
        |(_, name)| (*name).to_owned(),
    );
    match (unmeasured_name(event), variable_name(&event.data)) {
        (_, Some(name)) if is_variable(event.kind) => format!("{kind} `{name}`"),
        (Some(name), _) => format!("{kind} `{name}`"),
        _ => kind,
    }
}

/// UEFI variables that the firmware measures (section 10.2.6, `UEFI_VARIABLE_DATA`), PCR 7.
fn variable(event: &Event, bank: HashAlgorithm) -> Option<(&'static str, Fact)> {
    let is_config = event.kind == EV_EFI_VARIABLE_DRIVER_CONFIG && event.pcr == 7;
    if !is_config || !event.is_measured_data(bank, &event.data) {
        return None;
    }
    let (name, value) = variable_parts(&event.data)?;
    let hash = || Fact::Text(hex::encode(&bank.digest(&[value])));
    Some(match name.as_str() {
        "SecureBoot" => ("secure_boot", Fact::Flag(value == [1])),
        "PK" => ("secure_boot_pk", hash()),
        "KEK" => ("secure_boot_kek", hash()),
        "db" => ("secure_boot_db", hash()),
        "dbx" => ("secure_boot_dbx", hash()),
        _ => return None,
    })
}

/// The kernel's command line: systemd measures it in UTF-16 into PCR 12, GRUB as `kernel_cmdline: …` into PCR 8, without that word.
fn command_line(event: &Event, bank: HashAlgorithm) -> Option<String> {
    if event.pcr == 12 && event.is_measured_data(bank, &event.data) {
        return utf16(&event.data);
    }
    let line = event.data.strip_prefix(b"kernel_cmdline: ")?;
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let measured = event.pcr == 8 && event.is_measured_data(bank, line);
    measured.then(|| String::from_utf8_lossy(line).into_owned())
}

fn variable_name(data: &[u8]) -> Option<String> {
    variable_parts(data).map(|(name, _)| name)
}

/// GUID, length of the name in characters, length of the value, name in UTF-16, value.
fn variable_parts(data: &[u8]) -> Option<(String, &[u8])> {
    let (_guid, rest) = data.split_at_checked(16)?;
    let (characters, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let characters = usize::try_from(u64::from_le_bytes(*characters)).ok()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (name, value) = rest.split_at_checked(characters.checked_mul(2)?)?;
    (value.len() == length).then(|| utf16(name).map(|name| (name, value)))?
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let text = String::from_utf16(&units).ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

/// What boot loaders write beside a digest. It is not measured: a name for people.
fn unmeasured_name(event: &Event) -> Option<String> {
    let text = std::str::from_utf8(&event.data)
        .ok()?
        .trim_end_matches('\0');
    let readable =
        !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control);
    (event.kind == EV_IPL && readable).then(|| text.to_owned())
}

fn is_variable(kind: u32) -> bool {
    matches!(
        kind,
        EV_EFI_VARIABLE_DRIVER_CONFIG | EV_EFI_VARIABLE_BOOT | EV_EFI_VARIABLE_AUTHORITY
    )
}

/// Whether an event of PCR 4 is the firmware's remark that it goes on, and no image: its few bytes are what was measured.
fn is_remark(event: &Event, bank: HashAlgorithm) -> bool {
    event.data.len() <= LONGEST_REMARK && event.is_measured_data(bank, &event.data)
}

type IsImage = fn(&Event, HashAlgorithm) -> bool;

/// Firmware measures what it starts into PCR 4. GRUB measures the files that it reads into PCR 9, the kernel among them; of a unified
/// kernel image the sections are in PCR 11. `kernels` goes by the name beside a digest, for people.
const IMAGES: [(&str, IsImage); 4] = [
    ("boot_loaders", |event, bank| {
        event.pcr == 4 && !is_remark(event, bank)
    }),
    ("boot_files", |event, _| event.pcr == 9),
    ("kernels", |event, _| {
        let name = unmeasured_name(event).unwrap_or_default();
        event.pcr == 9 && name.contains("vmlinuz")
    }),
    ("unified_kernel_sections", |event, _| event.pcr == 11),
];

// Section 10.4.1.
const EV_IPL: u32 = 0x0d;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

const KINDS: [(u32, &str); 16] = [
    (0x01, "firmware code"),
    (0x04, "separator"),
    (0x05, "action"),
    (0x06, "event tag"),
    (0x07, "static root of trust"),
    (0x08, "firmware version"),
    (0x09, "CPU microcode"),
    (0x0a, "platform configuration"),
    (EV_IPL, "boot loader's measurement"),
    (EV_EFI_VARIABLE_DRIVER_CONFIG, "variable"),
    (EV_EFI_VARIABLE_BOOT, "boot variable"),
    (EV_EFI_BOOT_SERVICES_APPLICATION, "boot application"),
    (0x8000_0004, "driver"),
    (0x8000_0006, "partition table"),
    (0x8000_0007, "firmware action"),
    (EV_EFI_VARIABLE_AUTHORITY, "authority"),
];

/// `Calling EFI Application from Boot Option`, and the four bytes of a separator.
const LONGEST_REMARK: usize = 64;

/// Longer ones are no names.
const LONGEST_NAME: usize = 256;
