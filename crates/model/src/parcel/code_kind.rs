//! Kinds of codes, their carriers, and their names on the wire.

/// Kind of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeKind {
    /// Serial shipping container code, AI 00: 18 digits.
    Sscc,
    /// Trade item number and serial number, AI 01 and 21. It identifies a parcel only if the
    /// manifest lists it.
    Sgtin,
    /// Consignment number, AI 401.
    Ginc,
    /// Shipment number, AI 402.
    Gsin,
    /// Returnable asset: a roll cage, a tote; AI 8003.
    Grai,
    /// Individual asset: a van, a gateway; AI 8004.
    Giai,
    /// A place, AI 414.
    Gln,
    /// Trade item number of eight digits.
    Gtin8,
    /// Trade item number of a retail code.
    Gtin13,
    /// Trade item number without a serial number, AI 01.
    Gtin14,
    /// 8, 12, 13 or 14 digits that are not marked as a trade item number.
    Gs1Key,
    /// Postal item, UPU S10.
    UpuS10,
    Ups1z,
    /// USPS Intelligent Mail package barcode.
    UspsImpb,
    /// USPS, 20 digits whose check digit includes a 91 before them.
    UspsLegacy,
    /// USPS, 20 digits.
    Usps20,
    /// `FedEx` Express.
    Fedex12,
    /// `FedEx`, 34 digits; the last 12 are the number.
    Fedex34,
    /// `FedEx` Ground.
    FedexGround,
    /// `FedEx` Ground, 22 digits; the last 15 are the number.
    FedexGround96,
    /// `FedEx` Ground's own SSCC.
    FedexGroundSscc,
    /// DHL Express air waybill.
    DhlExpress,
    /// DHL's licence plate of a piece (ISO/IEC 15459-1).
    DhlPieceId,
    /// DHL Parcel.
    DhlParcel,
    /// DHL eCommerce.
    DhlEcommerce,
    /// DPD's bar code; 14 of its digits are the number.
    Dpd28,
    /// DPD's parcel number.
    Dpd14,
    /// Amazon Logistics.
    AmazonTba,
    /// Amazon, international.
    AmazonInternational,
    CanadaPost,
    Canpar,
    Purolator,
    Ontrac,
    Lasership,
    Gofo,
    Yodel,
    /// An RFID tag with an unknown scheme.
    Rfid,
    /// A printed command for the van, `VANCTL:…`.
    Control,
    /// No known format; possibly a number of the operator.
    Unknown,
}

impl CodeKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sscc => "sscc",
            Self::Sgtin => "sgtin",
            Self::Ginc => "ginc",
            Self::Gsin => "gsin",
            Self::Grai => "grai",
            Self::Giai => "giai",
            Self::Gln => "gln",
            Self::Gtin8 => "gtin8",
            Self::Gtin13 => "gtin13",
            Self::Gtin14 => "gtin14",
            Self::Gs1Key => "gs1_key",
            Self::UpuS10 => "upu_s10",
            Self::Ups1z => "ups_1z",
            Self::UspsImpb => "usps_impb",
            Self::UspsLegacy => "usps_legacy",
            Self::Usps20 => "usps_20",
            Self::Fedex12 => "fedex_12",
            Self::Fedex34 => "fedex_34",
            Self::FedexGround => "fedex_ground",
            Self::FedexGround96 => "fedex_ground96",
            Self::FedexGroundSscc => "fedex_ground_sscc_18",
            Self::DhlExpress => "dhl_express",
            Self::DhlPieceId => "dhl_piece_id",
            Self::DhlParcel => "dhl_parcel",
            Self::DhlEcommerce => "dhl_ecommerce",
            Self::Dpd28 => "dpd_28",
            Self::Dpd14 => "dpd_14",
            Self::AmazonTba => "amazon_tba",
            Self::AmazonInternational => "amazon_international",
            Self::CanadaPost => "canada_post",
            Self::Canpar => "canpar_22",
            Self::Purolator => "purolator_numeric",
            Self::Ontrac => "ontrac_c",
            Self::Lasership => "lasership_lx",
            Self::Gofo => "gofo_us",
            Self::Yodel => "yodel",
            Self::Rfid => "rfid",
            Self::Control => "control",
            Self::Unknown => "unknown",
        }
    }

    /// The carrier that issued the number; `None` for other numbers.
    #[must_use]
    pub const fn carrier(self) -> Option<Carrier> {
        Some(match self {
            Self::UpuS10 => Carrier::Upu,
            Self::Ups1z => Carrier::Ups,
            Self::UspsImpb | Self::UspsLegacy | Self::Usps20 => Carrier::Usps,
            Self::Fedex12
            | Self::Fedex34
            | Self::FedexGround
            | Self::FedexGround96
            | Self::FedexGroundSscc => Carrier::Fedex,
            Self::DhlExpress | Self::DhlPieceId | Self::DhlParcel | Self::DhlEcommerce => {
                Carrier::Dhl
            }
            Self::Dpd28 | Self::Dpd14 => Carrier::Dpd,
            Self::AmazonTba | Self::AmazonInternational => Carrier::Amazon,
            Self::CanadaPost => Carrier::CanadaPost,
            Self::Canpar => Carrier::Canpar,
            Self::Purolator => Carrier::Purolator,
            Self::Ontrac => Carrier::Ontrac,
            Self::Lasership => Carrier::Lasership,
            Self::Gofo => Carrier::Gofo,
            Self::Yodel => Carrier::Yodel,
            _ => return None,
        })
    }

    /// Whether this kind identifies one parcel without a manifest. A retail code identifies a
    /// product.
    #[must_use]
    pub const fn identifies_parcel(self) -> bool {
        matches!(self, Self::Sscc | Self::FedexGroundSscc) || self.carrier().is_some()
    }
}

/// Carrier or postal service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Ups,
    /// Any postal operator (Universal Postal Union).
    Upu,
    /// United States Postal Service.
    Usps,
    Fedex,
    Dhl,
    Dpd,
    /// Amazon Logistics.
    Amazon,
    CanadaPost,
    Canpar,
    Purolator,
    Ontrac,
    Lasership,
    Gofo,
    Yodel,
}

impl Carrier {
    /// The name in URIs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ups => "ups",
            Self::Upu => "upu",
            Self::Usps => "usps",
            Self::Fedex => "fedex",
            Self::Dhl => "dhl",
            Self::Dpd => "dpd",
            Self::Amazon => "amzl",
            Self::CanadaPost => "canada_post",
            Self::Canpar => "canpar",
            Self::Purolator => "purolator",
            Self::Ontrac => "ontrac",
            Self::Lasership => "lasership",
            Self::Gofo => "gofo",
            Self::Yodel => "yodel",
        }
    }
}
