//! The words of EPCIS 2.0 and CBV 2.0: members of each event (ISO/IEC 19987 §7.4), business steps (CBV §7.1), dispositions
//! (§7.2), types of transactions, sources and destinations (§7.3, §7.4), of sensor reports (§7.6).

use super::shape::Kind::{
    Any, Array, Hex, List, Number, Object, Offset, OneOf, Some, Text, Time, Truth, Unit, Uri,
    UriOrUris, Uris, Version, Word, Words,
};
use super::shape::{Kind, Others, Shape};

const STEPS: &[&str] = &[
    "accepting",
    "arriving",
    "assembling",
    "collecting",
    "commissioning",
    "consigning",
    "creating_class_instance",
    "cycle_counting",
    "decommissioning",
    "departing",
    "destroying",
    "disassembling",
    "dispensing",
    "encoding",
    "entering_exiting",
    "holding",
    "inspecting",
    "installing",
    "killing",
    "loading",
    "other",
    "packing",
    "picking",
    "receiving",
    "removing",
    "repackaging",
    "repairing",
    "replacing",
    "reserving",
    "retail_selling",
    "shipping",
    "staging_outbound",
    "stock_taking",
    "stocking",
    "storing",
    "transporting",
    "unloading",
    "unpacking",
    "void_shipping",
    "sensor_reporting",
    "sampling",
];

const DISPOSITIONS: &[&str] = &[
    "active",
    "container_closed",
    "damaged",
    "destroyed",
    "dispensed",
    "disposed",
    "encoded",
    "expired",
    "in_progress",
    "in_transit",
    "inactive",
    "no_pedigree_match",
    "non_sellable_other",
    "partially_dispensed",
    "recalled",
    "reserved",
    "retail_sold",
    "returned",
    "sellable_accessible",
    "sellable_not_accessible",
    "stolen",
    "unknown",
    "available",
    "completeness_verified",
    "completeness_inferred",
    "conformant",
    "container_open",
    "mismatch_instance",
    "mismatch_class",
    "mismatch_quantity",
    "needs_replacement",
    "non_conformant",
    "unavailable",
];

const TRANSACTIONS: &[&str] = &[
    "bol",
    "cert",
    "desadv",
    "inv",
    "pedigree",
    "po",
    "poc",
    "prodorder",
    "recadv",
    "rma",
    "testprd",
    "testres",
    "upevt",
];

const ENDS: &[&str] = &["owning_party", "possessing_party", "location"];

const MEASURED: &[&str] = &[
    "AbsoluteHumidity",
    "AbsorbedDose",
    "AbsorbedDoseRate",
    "Acceleration",
    "Radioactivity",
    "Altitude",
    "AmountOfSubstance",
    "AmountOfSubstancePerUnitVolume",
    "Angle",
    "AngularAcceleration",
    "AngularMomentum",
    "AngularVelocity",
    "Area",
    "Capacitance",
    "Conductance",
    "Conductivity",
    "Count",
    "Density",
    "Dimensionless",
    "DoseEquivalent",
    "DoseEquivalentRate",
    "DynamicViscosity",
    "ElectricCharge",
    "ElectricCurrent",
    "ElectricCurrentDensity",
    "ElectricFieldStrength",
    "Energy",
    "Exposure",
    "Force",
    "Frequency",
    "Illuminance",
    "Inductance",
    "Irradiance",
    "KinematicViscosity",
    "Length",
    "LinearMomentum",
    "Luminance",
    "LuminousFlux",
    "LuminousIntensity",
    "MagneticFlux",
    "MagneticFluxDensity",
    "MagneticVectorPotential",
    "Mass",
    "MassConcentration",
    "MassFlowRate",
    "MassPerAreaTime",
    "MemoryCapacity",
    "MolalityOfSolute",
    "MolarEnergy",
    "MolarMass",
    "MolarVolume",
    "Power",
    "Pressure",
    "RadiantFlux",
    "RadiantIntensity",
    "RelativeHumidity",
    "Resistance",
    "Resistivity",
    "SolidAngle",
    "SpecificVolume",
    "Speed",
    "SurfaceDensity",
    "SurfaceTension",
    "Temperature",
    "Time",
    "Torque",
    "Voltage",
    "Volume",
    "VolumeFlowRate",
    "VolumeFraction",
    "VolumetricFlux",
    "Wavenumber",
];

const COMPONENTS: &[&str] = &[
    "x",
    "y",
    "z",
    "axial_distance",
    "azimuth",
    "height",
    "spherical_radius",
    "polar_angle",
    "elevation_angle",
    "easting",
    "northing",
    "latitude",
    "longitude",
    "altitude",
];

const ACTIONS: &[&str] = &["ADD", "OBSERVE", "DELETE"];

const COMMON_REQUIRED: &[&str] = &["eventTime", "eventTimeZoneOffset", "action"];

/// What every event may say.
const COMMON: &[(&str, Kind)] = &[
    ("@context", Any),
    ("type", Text),
    ("eventTime", Time),
    ("recordTime", Time),
    ("eventTimeZoneOffset", Offset),
    ("eventID", Uri),
    ("certificationInfo", UriOrUris),
    ("errorDeclaration", Object(&ERROR)),
    ("bizStep", Word(STEPS)),
    ("disposition", Word(DISPOSITIONS)),
    ("readPoint", Object(&PLACE)),
    ("bizLocation", Object(&PLACE)),
    ("sourceList", List(&SOURCE)),
    ("destinationList", List(&DESTINATION)),
    ("sensorElementList", List(&SENSOR)),
];

/// The events of EPCIS, by their type.
pub(super) const EVENTS: &[(&str, &Shape)] = &[
    ("ObjectEvent", &OBJECT),
    ("AggregationEvent", &AGGREGATION),
    ("AssociationEvent", &ASSOCIATION),
    ("TransactionEvent", &TRANSACTION),
    ("TransformationEvent", &TRANSFORMATION),
];

static OBJECT: Shape = Shape {
    members: COMMON,
    more: &[
        ("action", OneOf(ACTIONS)),
        ("epcList", Uris),
        ("quantityList", List(&QUANTITY)),
        ("bizTransactionList", List(&BIZ_TRANSACTION)),
        ("persistentDisposition", Object(&PERSISTENT)),
        ("ilmd", Object(&ILMD)),
    ],
    required: COMMON_REQUIRED,
    others: Others::Prefixed,
};

const CHILDREN: &[(&str, Kind)] = &[
    ("action", OneOf(ACTIONS)),
    ("parentID", Uri),
    ("childEPCs", Uris),
    ("childQuantityList", List(&QUANTITY)),
    ("bizTransactionList", List(&BIZ_TRANSACTION)),
];

static AGGREGATION: Shape =
    Shape { members: COMMON, more: CHILDREN, required: COMMON_REQUIRED, others: Others::Prefixed };

static ASSOCIATION: Shape = Shape {
    members: COMMON,
    more: CHILDREN,
    required: &["eventTime", "eventTimeZoneOffset", "action", "parentID"],
    others: Others::Prefixed,
};

static TRANSACTION: Shape = Shape {
    members: COMMON,
    more: &[
        ("action", OneOf(ACTIONS)),
        ("bizTransactionList", Some(&BIZ_TRANSACTION)),
        ("parentID", Uri),
        ("epcList", Uris),
        ("quantityList", List(&QUANTITY)),
    ],
    required: &["eventTime", "eventTimeZoneOffset", "action", "bizTransactionList"],
    others: Others::Prefixed,
};

static TRANSFORMATION: Shape = Shape {
    members: COMMON,
    more: &[
        ("inputEPCList", Uris),
        ("inputQuantityList", List(&QUANTITY)),
        ("outputEPCList", Uris),
        ("outputQuantityList", List(&QUANTITY)),
        ("transformationID", Uri),
        ("bizTransactionList", List(&BIZ_TRANSACTION)),
        ("persistentDisposition", Object(&PERSISTENT)),
        ("ilmd", Object(&ILMD)),
    ],
    required: &["eventTime", "eventTimeZoneOffset"],
    others: Others::Prefixed,
};

/// An object of these members and no more.
const fn closed(
    members: &'static [(&'static str, Kind)],
    required: &'static [&'static str],
) -> Shape {
    Shape { members, more: &[], required, others: Others::No }
}

/// An object of these members, and extensions.
const fn open(
    members: &'static [(&'static str, Kind)],
    required: &'static [&'static str],
) -> Shape {
    Shape { members, more: &[], required, others: Others::Prefixed }
}

static PLACE: Shape =
    Shape { members: &[("id", Uri)], more: &[], required: &["id"], others: Others::Any };

static QUANTITY: Shape =
    closed(&[("epcClass", Uri), ("quantity", Number), ("uom", Unit)], &["epcClass"]);

static BIZ_TRANSACTION: Shape =
    closed(&[("type", Word(TRANSACTIONS)), ("bizTransaction", Uri)], &["bizTransaction"]);

static SOURCE: Shape = closed(&[("type", Word(ENDS)), ("source", Uri)], &["type", "source"]);

static DESTINATION: Shape =
    closed(&[("type", Word(ENDS)), ("destination", Uri)], &["type", "destination"]);

static PERSISTENT: Shape =
    closed(&[("set", Words(DISPOSITIONS)), ("unset", Words(DISPOSITIONS))], &[]);

static ILMD: Shape = open(&[], &[]);

static ERROR: Shape = open(
    &[
        ("declarationTime", Time),
        ("reason", Word(&["did_not_occur", "incorrect_data"])),
        ("correctiveEventIDs", Uris),
    ],
    &["declarationTime"],
);

static SENSOR: Shape = open(
    &[("sensorMetadata", Object(&SENSOR_METADATA)), ("sensorReport", Some(&SENSOR_REPORT))],
    &["sensorReport"],
);

static SENSOR_METADATA: Shape = open(
    &[
        ("time", Time),
        ("deviceID", Uri),
        ("deviceMetadata", Uri),
        ("rawData", Uri),
        ("startTime", Time),
        ("endTime", Time),
        ("dataProcessingMethod", Uri),
        ("bizRules", Uri),
    ],
    &[],
);

static SENSOR_REPORT: Shape = open(
    &[
        ("type", Word(MEASURED)),
        ("exception", Word(&["ALARM_CONDITION", "ERROR_CONDITION"])),
        ("deviceID", Uri),
        ("deviceMetadata", Uri),
        ("rawData", Uri),
        ("dataProcessingMethod", Uri),
        ("time", Time),
        ("microorganism", Uri),
        ("chemicalSubstance", Uri),
        ("coordinateReferenceSystem", Uri),
        ("value", Number),
        ("component", Word(COMPONENTS)),
        ("stringValue", Text),
        ("booleanValue", Truth),
        ("hexBinaryValue", Hex),
        ("uriValue", Uri),
        ("minValue", Number),
        ("maxValue", Number),
        ("meanValue", Number),
        ("sDev", Number),
        ("percRank", Number),
        ("percValue", Number),
        ("uom", Text),
    ],
    &["type"],
);

/// Where events are written down (§9.5).
pub(super) static DOCUMENT: Shape = open(
    &[
        ("@context", Any),
        ("id", Uri),
        ("type", Text),
        ("schemaVersion", Version),
        ("creationDate", Time),
        ("instanceIdentifier", Text),
        ("sender", Text),
        ("receiver", Text),
        ("epcisHeader", Object(&ANYTHING)),
        ("epcisBody", Object(&BODY)),
    ],
    &["@context", "type", "schemaVersion", "creationDate", "epcisBody"],
);

static ANYTHING: Shape = Shape { members: &[], more: &[], required: &[], others: Others::Any };

static BODY: Shape = open(&[("eventList", Array)], &["eventList"]);

/// The answer of another repository (§9.5).
pub(super) static QUERY_DOCUMENT: Shape = open(
    &[
        ("@context", Any),
        ("id", Uri),
        ("type", Text),
        ("schemaVersion", Version),
        ("creationDate", Time),
        ("epcisBody", Object(&QUERY_BODY)),
    ],
    &["@context", "type", "epcisBody"],
);

static QUERY_BODY: Shape = open(&[("queryResults", Object(&RESULTS))], &["queryResults"]);

static RESULTS: Shape = open(
    &[("queryName", Text), ("subscriptionID", Text), ("resultsBody", Object(&RESULTS_BODY))],
    &["resultsBody"],
);

static RESULTS_BODY: Shape = open(&[("eventList", Array), ("vocabularyList", Any)], &["eventList"]);
