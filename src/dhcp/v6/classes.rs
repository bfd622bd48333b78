//! What a request over IPv6 says that classes ask for.

use super::request::Request;
use crate::api::DhcpOption;
use crate::boot::Architecture;
use crate::dhcp::classes::Says;

impl Says for Request {
    fn vendor_begins(&self, class: &[u8]) -> bool {
        let mut told = self.vendor_classes.iter();
        told.any(|told| told.starts_with(class))
    }

    fn names_user_class(&self, class: &[u8]) -> bool {
        let mut told = self.user_classes.iter();
        told.any(|told| told == class)
    }

    fn architecture(&self) -> Option<Architecture> {
        self.client.architecture()
    }

    /// The relay next to the client knows its port.
    fn circuit_id(&self) -> Option<&[u8]> {
        self.hops.last()?.interface_id.as_deref()
    }

    /// Behind the number of its maker.
    fn remote_id(&self) -> Option<&[u8]> {
        self.hops.last()?.remote_id.as_deref()?.get(4..)
    }

    /// DHCPv4's are in no request over IPv6.
    fn sent(&self, _: &DhcpOption) -> bool {
        false
    }
}
