//! Processor architectures as option 93 names them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of machine code a firmware runs: the union of processor and
/// firmware, which is what decides between loaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// PC BIOS.
    X86Bios,
    /// UEFI on 32-bit x86.
    X86Uefi,
    /// UEFI on 64-bit x86.
    X64Uefi,
    /// UEFI on 32-bit ARM.
    Arm32Uefi,
    /// UEFI on 64-bit ARM.
    Arm64Uefi,
    /// UEFI on 32-bit RISC-V.
    RiscV32Uefi,
    /// UEFI on 64-bit RISC-V.
    RiscV64Uefi,
    /// UEFI on 64-bit LoongArch.
    LoongArch64Uefi,
}

/// How a firmware fetches its first file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// By TFTP, from siaddr and a file name.
    Tftp,
    /// By HTTP, from a URL (UEFI 2.5 section 24.7).
    Http,
}

impl Transport {
    /// Its name in log lines and `/boots`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tftp => "tftp",
            Self::Http => "http",
        }
    }
}

/// A value of option 93: IANA's "Processor Architecture Types".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirmwareType(pub u16);

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::X86Bios,
        Self::X86Uefi,
        Self::X64Uefi,
        Self::Arm32Uefi,
        Self::Arm64Uefi,
        Self::RiscV32Uefi,
        Self::RiscV64Uefi,
        Self::LoongArch64Uefi,
    ];

    /// Its name in manifests, log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86Bios => "x86_64-bios",
            Self::X86Uefi => "i386-uefi",
            Self::X64Uefi => "x86_64-uefi",
            Self::Arm32Uefi => "arm-uefi",
            Self::Arm64Uefi => "aarch64-uefi",
            Self::RiscV32Uefi => "riscv32-uefi",
            Self::RiscV64Uefi => "riscv64-uefi",
            Self::LoongArch64Uefi => "loongarch64-uefi",
        }
    }

    /// Whether the firmware is UEFI: its kernels need their initrds named.
    #[must_use]
    pub const fn is_uefi(self) -> bool {
        !matches!(self, Self::X86Bios)
    }

    /// The iPXE files that run here, the best first; names as Debian's `ipxe`
    /// package and iPXE's own build have them.
    #[must_use]
    pub const fn ipxe_files(self) -> &'static [&'static str] {
        match self {
            Self::X86Bios => &["undionly.kpxe", "ipxe.pxe"],
            Self::X86Uefi => &["ipxe-i386.efi", "ipxe32.efi"],
            Self::X64Uefi => &["ipxe.efi", "ipxe-x86_64.efi", "snponly.efi"],
            Self::Arm32Uefi => &["ipxe-arm32.efi", "snponly-arm32.efi"],
            Self::Arm64Uefi => &["ipxe-arm64.efi", "snponly-arm64.efi"],
            Self::RiscV32Uefi => &["ipxe-riscv32.efi", "snponly-riscv32.efi"],
            Self::RiscV64Uefi => &["ipxe-riscv64.efi", "snponly-riscv64.efi"],
            Self::LoongArch64Uefi => &["ipxe-loong64.efi", "snponly-loong64.efi"],
        }
    }

    /// The shim that runs here, as distributions name it; `None` where there is
    /// none.
    #[must_use]
    pub const fn shim_file(self) -> Option<&'static str> {
        match self {
            Self::X64Uefi => Some("shimx64.efi"),
            Self::Arm64Uefi => Some("shimaa64.efi"),
            Self::X86Bios
            | Self::X86Uefi
            | Self::Arm32Uefi
            | Self::RiscV32Uefi
            | Self::RiscV64Uefi
            | Self::LoongArch64Uefi => None,
        }
    }
}

impl FirmwareType {
    /// What it means for us, if a machine of this type can be booted at all.
    ///
    /// 9 is EFI byte code by RFC 4578 and x64 by its errata, which swap 7 and
    /// 9; both are sent by x64 machines only.
    #[must_use]
    pub const fn meaning(self) -> Option<(Architecture, Transport)> {
        use Architecture as A;
        use Transport::{Http, Tftp};
        Some(match self.0 {
            0 => (A::X86Bios, Tftp),
            6 => (A::X86Uefi, Tftp),
            7 | 9 => (A::X64Uefi, Tftp),
            10 => (A::Arm32Uefi, Tftp),
            11 => (A::Arm64Uefi, Tftp),
            15 => (A::X86Uefi, Http),
            16 | 17 => (A::X64Uefi, Http),
            18 => (A::Arm32Uefi, Http),
            19 => (A::Arm64Uefi, Http),
            20 => (A::X86Bios, Http),
            25 => (A::RiscV32Uefi, Tftp),
            26 => (A::RiscV32Uefi, Http),
            27 => (A::RiscV64Uefi, Tftp),
            28 => (A::RiscV64Uefi, Http),
            39 => (A::LoongArch64Uefi, Tftp),
            40 => (A::LoongArch64Uefi, Http),
            _ => return None,
        })
    }

    /// IANA's name for the type, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "x86 BIOS",
            1 => "NEC/PC98",
            2 => "Itanium",
            3 => "DEC Alpha",
            4 => "Arc x86",
            5 => "Intel Lean Client",
            6 => "x86 UEFI",
            7 => "x64 UEFI",
            8 => "EFI Xscale",
            9 => "EBC",
            10 => "ARM 32-bit UEFI",
            11 => "ARM 64-bit UEFI",
            12 => "PowerPC Open Firmware",
            13 => "PowerPC ePAPR",
            14 => "POWER OPAL v3",
            15 => "x86 UEFI boot from HTTP",
            16 => "x64 UEFI boot from HTTP",
            17 => "EBC boot from HTTP",
            18 => "ARM UEFI 32 boot from HTTP",
            19 => "ARM UEFI 64 boot from HTTP",
            20 => "PC/AT BIOS boot from HTTP",
            21 => "ARM 32 U-Boot",
            22 => "ARM 64 U-Boot",
            23 => "ARM U-Boot 32 boot from HTTP",
            24 => "ARM U-Boot 64 boot from HTTP",
            25 => "RISC-V 32-bit UEFI",
            26 => "RISC-V 32-bit UEFI boot from HTTP",
            27 => "RISC-V 64-bit UEFI",
            28 => "RISC-V 64-bit UEFI boot from HTTP",
            29 => "RISC-V 128-bit UEFI",
            30 => "RISC-V 128-bit UEFI boot from HTTP",
            31 => "s390 basic",
            32 => "s390 extended",
            33 => "MIPS 32-bit UEFI",
            34 => "MIPS 64-bit UEFI",
            35 => "Sunway 32-bit UEFI",
            36 => "Sunway 64-bit UEFI",
            37 => "LoongArch 32-bit UEFI",
            38 => "LoongArch 32-bit UEFI boot from HTTP",
            39 => "LoongArch 64-bit UEFI",
            40 => "LoongArch 64-bit UEFI boot from HTTP",
            41 => "ARM rpiboot",
            _ => "unassigned",
        }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an architecture such as x86_64-uefi"))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Architecture {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Architecture".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "enum": Self::ALL.map(Self::as_str)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_whole_registry_up_to_41() {
        for value in 0..=41 {
            assert_ne!(FirmwareType(value).name(), "unassigned", "{value}");
        }
        assert_eq!(FirmwareType(42).name(), "unassigned");
    }

    #[test]
    fn never_takes_itanium_for_a_pc() {
        for value in [1, 2, 3, 4, 5, 8, 12, 21, 31, 33, 41, 42, 65535] {
            assert_eq!(FirmwareType(value).meaning(), None, "{value}");
        }
    }

    #[test]
    fn names_survive_a_round_trip() {
        for arch in Architecture::ALL {
            assert_eq!(arch.as_str().parse(), Ok(arch));
        }
    }
}
