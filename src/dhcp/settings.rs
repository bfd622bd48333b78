//! The settings of DHCP that are the service's, not a Subnet's. Core.

use clap::Args;

/// Settings of DHCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct DhcpArgs {
    /// DHCP requests that are looked at in a second, of all machines together, 10
    /// to 1000000; those of one second at once. Half of them are kept for
    /// machines that have an offer already. 0: as many as can be answered.
    #[arg(
        long,
        env = "REVEILLE_DHCP_RATE",
        value_name = "NUMBER",
        default_value_t = 0,
        value_parser = parse_rate
    )]
    pub dhcp_rate: u32,
}

/// Least that may be set: one machine sends some ten packets to boot.
const LEAST: u32 = 10;
/// Most that may be set: more than any link brings.
const MOST: u32 = 1_000_000;

fn parse_rate(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(rate @ (0 | LEAST..=MOST)) => Ok(rate),
        Ok(_) | Err(_) => Err(format!("write 0, or {LEAST} to {MOST} requests a second")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_none_or_between_its_bounds() {
        for (text, rate) in [("0", 0), ("10", 10), ("1000000", 1_000_000)] {
            assert_eq!(parse_rate(text), Ok(rate));
        }
        for text in ["", "9", "1000001", "-1", "many"] {
            let said = parse_rate(text).unwrap_err();
            assert_eq!(
                said, "write 0, or 10 to 1000000 requests a second",
                "{text}"
            );
        }
    }
}
