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
    for (name, fact) in firmwares_own(events, bank).filter_map(|event| variable(event, bank)) {
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
    if let Some(line) = command_line(events, bank) {
        facts.insert("kernel_command_line", Fact::Text(line));
    }
    facts
}

/// What the firmware measured into PCR 7 before it started anything: a separator ends it, which is known by its digest.
///
/// Who controls the running system can call the firmware's event something else and measure a nicer one, but only after the separator.
/// Where there is none, nothing tells the two apart.
fn firmwares_own<'a>(
    events: &'a [&'a Event],
    bank: HashAlgorithm,
) -> impl Iterator<Item = &'a Event> {
    let of_pcr = move || events.iter().filter(|event| event.pcr == 7);
    let end = of_pcr().position(|event| event.is_measured_data(bank, &SEPARATOR));
    of_pcr().take(end.unwrap_or_default()).copied()
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

/// The kernel's command line: systemd measures it first into PCR 12, in UTF-16; GRUB into PCR 8, among its commands.
fn command_line(events: &[&Event], bank: HashAlgorithm) -> Option<String> {
    let first = events.iter().find(|event| event.pcr == 12);
    let systemd = first.filter(|event| event.is_measured_data(bank, &event.data));
    systemd
        .and_then(|event| utf16(&event.data))
        .or_else(|| grub_command_line(events, bank))
}

/// GRUB writes a word before each line that it measures without that word. An event whose line is not what was measured ends the
/// search: it may hide the true command line. The word itself is not measured, so a policy that rests on one line names the PCR too.
fn grub_command_line(events: &[&Event], bank: HashAlgorithm) -> Option<String> {
    let events = events.iter().filter(|event| event.pcr == 8);
    let lines = events.map_while(|event| grub_line(event, bank));
    let mut lines = lines.filter(|(word, _)| *word == KERNEL_COMMAND_LINE);
    let (_, line) = lines.next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// The word and the line, where the line is what was measured.
fn grub_line(event: &Event, bank: HashAlgorithm) -> Option<(&'static str, &[u8])> {
    let data = event.data.strip_suffix(b"\0").unwrap_or(&event.data);
    let mut lines = GRUB_WORDS
        .iter()
        .filter_map(|word| Some((*word, data.strip_prefix(word.as_bytes())?)));
    lines
        .find(|(_, line)| event.is_measured_data(bank, line))
        .or_else(|| {
            event
                .is_measured_data(bank, &event.data)
                .then_some(("", data))
        })
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

/// Section 10.4.1, `EV_SEPARATOR`: what is measured when nothing failed.
const SEPARATOR: [u8; 4] = [0; 4];

const KERNEL_COMMAND_LINE: &str = "kernel_cmdline: ";

const GRUB_WORDS: [&str; 3] = ["grub_cmd: ", KERNEL_COMMAND_LINE, "module_cmdline: "];

/// `Calling EFI Application from Boot Option`, and the four bytes of a separator.
const LONGEST_REMARK: usize = 64;

/// Longer ones are no names.
const LONGEST_NAME: usize = 256;
