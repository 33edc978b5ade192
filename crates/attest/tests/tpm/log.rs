//! Writes event logs in the TCG's format, and what a TPM has in its PCRs after them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, SHA384, digest};

pub(crate) const EV_NO_ACTION: u32 = 3;
pub(crate) const EV_SEPARATOR: u32 = 4;
pub(crate) const EV_ACTION: u32 = 5;
pub(crate) const EV_IPL: u32 = 0x0d;
pub(crate) const EV_VARIABLE: u32 = 0x8000_0001;
pub(crate) const EV_APPLICATION: u32 = 0x8000_0003;
pub(crate) const EV_AUTHORITY: u32 = 0x8000_00e0;

/// An event of SHA-256 and SHA-384.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) pcr: u32,
    pub(crate) kind: u32,
    pub(crate) sha256: Vec<u8>,
    pub(crate) sha384: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// A log that is being written.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Vec<Entry>);

impl Entry {
    /// What was measured stands beside its digest, or something else does.
    pub(crate) fn new(pcr: u32, kind: u32, measured: &[u8], data: &[u8]) -> Self {
        Self {
            pcr,
            kind,
            sha256: digest(&SHA256, measured).as_ref().to_vec(),
            sha384: digest(&SHA384, measured).as_ref().to_vec(),
            data: data.to_vec(),
        }
    }
}

impl Log {
    /// Secure Boot, shim, GRUB, a kernel and its command line.
    pub(crate) fn of_a_linux_machine() -> Self {
        let mut log = Self::default();
        log.event(0, EV_ACTION, b"firmware");
        for (name, value) in [
            ("SecureBoot", b"\x01".as_slice()),
            ("PK", b"pk"),
            ("KEK", b"kek"),
            ("db", b"db"),
            ("dbx", b"dbx"),
        ] {
            log.event(7, EV_VARIABLE, &variable(name, value));
        }
        log.event(4, EV_ACTION, b"Calling EFI Application from Boot Option");
        for pcr in [0, 4, 7] {
            log.event(pcr, EV_SEPARATOR, &[0; 4]);
        }
        log.event(7, EV_AUTHORITY, &variable("db", b"certificate"));
        log.push(Entry::new(
            4,
            EV_APPLICATION,
            b"shim",
            &image("\\EFI\\debian\\shimx64.efi"),
        ));
        log.push(Entry::new(
            4,
            EV_APPLICATION,
            b"grub",
            &image("\\EFI\\debian\\grubx64.efi"),
        ));
        log.push(Entry::new(
            8,
            EV_IPL,
            b"linux /vmlinuz-6.1 ro",
            b"grub_cmd: linux /vmlinuz-6.1 ro\0",
        ));
        log.push(Entry::new(9, EV_IPL, b"kernel", b"/vmlinuz-6.1\0"));
        log.push(Entry::new(
            8,
            EV_IPL,
            b"/vmlinuz-6.1 ro",
            b"kernel_cmdline: /vmlinuz-6.1 ro\0",
        ));
        log.push(Entry::new(9, EV_IPL, b"initrd", b"/initrd.img-6.1\0"));
        log
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub(crate) fn event(&mut self, pcr: u32, kind: u32, data: &[u8]) {
        self.push(Entry::new(pcr, kind, data, data));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = header();
        for entry in &self.0 {
            for number in [entry.pcr, entry.kind, 2] {
                out.extend(number.to_le_bytes());
            }
            out.extend(0x000b_u16.to_le_bytes());
            out.extend(&entry.sha256);
            out.extend(0x000c_u16.to_le_bytes());
            out.extend(&entry.sha384);
            out.extend(length(&entry.data));
            out.extend(&entry.data);
        }
        out
    }

    /// What `tpm2 pcrextend` takes for each event.
    pub(crate) fn extends(&self) -> Vec<(u32, String)> {
        let measured = self.0.iter().filter(|entry| entry.kind != EV_NO_ACTION);
        let digests = |entry: &Entry| {
            format!(
                "sha256={},sha384={}",
                hex(&entry.sha256),
                hex(&entry.sha384)
            )
        };
        measured.map(|entry| (entry.pcr, digests(entry))).collect()
    }

    /// The SHA-256 bank after these events, in a TPM that was started from a locality.
    pub(crate) fn sha256(&self, locality: u8) -> BTreeMap<u8, Vec<u8>> {
        let mut pcrs: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for entry in self.0.iter().filter(|entry| entry.kind != EV_NO_ACTION) {
            let number = u8::try_from(entry.pcr).unwrap();
            let mut start = vec![0; 32];
            start[31] = if number == 0 { locality } else { 0 };
            let value = pcrs.entry(number).or_insert(start);
            *value = digest(&SHA256, &[value.as_slice(), &entry.sha256].concat())
                .as_ref()
                .to_vec();
        }
        pcrs
    }
}

/// An event of the older form: Spec ID Event03, SHA-256 and SHA-384.
pub(crate) fn header() -> Vec<u8> {
    let mut body = b"Spec ID Event03\0".to_vec();
    body.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    body.extend(2_u32.to_le_bytes());
    for (id, length) in [(0x000b_u16, 32_u16), (0x000c, 48)] {
        body.extend(id.to_le_bytes());
        body.extend(length.to_le_bytes());
    }
    body.push(0);
    let mut out = [[0; 4], EV_NO_ACTION.to_le_bytes()].concat();
    out.extend([0; 20]);
    out.extend(length(&body));
    out.extend(body);
    out
}

/// `UEFI_VARIABLE_DATA`.
pub(crate) fn variable(name: &str, value: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut out = vec![0x61; 16];
    out.extend(u64::try_from(name.len() / 2).unwrap().to_le_bytes());
    out.extend(u64::try_from(value.len()).unwrap().to_le_bytes());
    out.extend(name);
    out.extend(value);
    out
}

/// `UEFI_IMAGE_LOAD_EVENT`, its device path a file's name alone.
pub(crate) fn image(name: &str) -> Vec<u8> {
    let name: Vec<u8> = name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let node = u16::try_from(name.len() + 4).unwrap().to_le_bytes();
    let path = [&[4, 4][..], &node, &name, &[0x7f, 0xff, 4, 0]].concat();
    let mut out = vec![0; 24];
    out.extend(u64::try_from(path.len()).unwrap().to_le_bytes());
    out.extend(path);
    out
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap().to_le_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
