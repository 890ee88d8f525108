//! Vocabulary of EPCIS 2.0 and CBV 2.0: members of each event (ISO/IEC 19987 §7.4), business steps
//! (CBV §7.1), dispositions (§7.2), types of transactions, sources and destinations (§7.3, §7.4)
//! and of sensor reports (§7.6).

use super::schema::ValueSchema::{
    Array, AttributeValue, Boolean, Context, Hex, List, Node, NonEmptyList, Number, Object, Offset,
    OneOf, Term, Terms, Text, Time, UniqueUris, Unit, Uri, UriOrUris, Uris, Version, WebTerm,
};
use super::schema::{ExtraMembers, ObjectSchema, ValueSchema};

pub(super) const STEPS: &[&str] = &[
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

pub(super) const DISPOSITIONS: &[&str] = &[
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

const TRANSACTION_TYPES: &[&str] = &[
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

const SOURCE_DEST_TYPES: &[&str] = &["owning_party", "possessing_party", "location"];

const MEASUREMENT_TYPES: &[&str] = &[
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

pub(super) const ACTIONS: &[&str] = &["ADD", "OBSERVE", "DELETE"];

const COMMON_REQUIRED: &[&str] = &["eventTime", "eventTimeZoneOffset", "action"];

/// Members of every event.
const COMMON: &[(&str, ValueSchema)] = &[
    ("@context", Context),
    ("type", Text),
    ("eventTime", Time),
    ("recordTime", Time),
    ("eventTimeZoneOffset", Offset),
    ("eventID", Uri),
    ("certificationInfo", UriOrUris),
    ("errorDeclaration", Object(&ERROR)),
    ("bizStep", Term(STEPS)),
    ("disposition", Term(DISPOSITIONS)),
    ("readPoint", Object(&PLACE)),
    ("bizLocation", Object(&PLACE)),
    ("sourceList", List(&SOURCE)),
    ("destinationList", List(&DESTINATION)),
    ("sensorElementList", List(&SENSOR)),
];

/// Members of an event of a type outside EPCIS. Everything else is its own affair.
static EXTENDED: &[(&str, ValueSchema)] = &[
    ("@context", Context),
    ("type", Uri),
    ("eventTime", Time),
    ("recordTime", Time),
    ("eventTimeZoneOffset", Offset),
    ("eventID", Uri),
    ("certificationInfo", UriOrUris),
    ("errorDeclaration", Object(&ERROR)),
];

/// An event whose type is a URI of another vocabulary (§7.1).
pub(super) static EXTENDED_EVENT: ObjectSchema = ObjectSchema {
    members: EXTENDED,
    more: &[],
    required: &["eventTime", "eventTimeZoneOffset"],
    extra: ExtraMembers::Any,
};

/// Event types with their schemas.
pub(super) const EVENTS: &[(&str, &ObjectSchema)] = &[
    ("ObjectEvent", &OBJECT),
    ("AggregationEvent", &AGGREGATION),
    ("AssociationEvent", &ASSOCIATION),
    ("TransactionEvent", &TRANSACTION),
    ("TransformationEvent", &TRANSFORMATION),
];

static OBJECT: ObjectSchema = ObjectSchema {
    members: COMMON,
    more: &[
        ("action", OneOf(ACTIONS)),
        ("epcList", UniqueUris),
        ("quantityList", List(&QUANTITY)),
        ("bizTransactionList", List(&BIZ_TRANSACTION)),
        ("persistentDisposition", Object(&PERSISTENT)),
        ("ilmd", Object(&ILMD)),
    ],
    required: COMMON_REQUIRED,
    extra: ExtraMembers::Prefixed,
};

const CHILDREN: &[(&str, ValueSchema)] = &[
    ("action", OneOf(ACTIONS)),
    ("parentID", Uri),
    ("childEPCs", Uris),
    ("childQuantityList", List(&QUANTITY)),
    ("bizTransactionList", List(&BIZ_TRANSACTION)),
];

static AGGREGATION: ObjectSchema = ObjectSchema {
    members: COMMON,
    more: CHILDREN,
    required: COMMON_REQUIRED,
    extra: ExtraMembers::Prefixed,
};

static ASSOCIATION: ObjectSchema = ObjectSchema {
    members: COMMON,
    more: CHILDREN,
    required: &["eventTime", "eventTimeZoneOffset", "action", "parentID"],
    extra: ExtraMembers::Prefixed,
};

static TRANSACTION: ObjectSchema = ObjectSchema {
    members: COMMON,
    more: &[
        ("action", OneOf(ACTIONS)),
        ("bizTransactionList", NonEmptyList(&BIZ_TRANSACTION)),
        ("parentID", Uri),
        ("epcList", Uris),
        ("quantityList", List(&QUANTITY)),
    ],
    required: &["eventTime", "eventTimeZoneOffset", "action", "bizTransactionList"],
    extra: ExtraMembers::Prefixed,
};

static TRANSFORMATION: ObjectSchema = ObjectSchema {
    members: COMMON,
    more: &[
        ("inputEPCList", UniqueUris),
        ("inputQuantityList", List(&QUANTITY)),
        ("outputEPCList", UniqueUris),
        ("outputQuantityList", List(&QUANTITY)),
        ("transformationID", Uri),
        ("bizTransactionList", List(&BIZ_TRANSACTION)),
        ("persistentDisposition", Object(&PERSISTENT)),
        ("ilmd", Object(&ILMD)),
    ],
    required: &["eventTime", "eventTimeZoneOffset"],
    extra: ExtraMembers::Prefixed,
};

/// Schema of an object with exactly these members.
const fn closed(
    members: &'static [(&'static str, ValueSchema)],
    required: &'static [&'static str],
) -> ObjectSchema {
    ObjectSchema { members, more: &[], required, extra: ExtraMembers::Forbidden }
}

/// Schema of an object with these members and any others.
const fn any(
    members: &'static [(&'static str, ValueSchema)],
    required: &'static [&'static str],
) -> ObjectSchema {
    ObjectSchema { members, more: &[], required, extra: ExtraMembers::Any }
}

/// Schema of an object with these members and extensions.
const fn open(
    members: &'static [(&'static str, ValueSchema)],
    required: &'static [&'static str],
) -> ObjectSchema {
    ObjectSchema { members, more: &[], required, extra: ExtraMembers::Prefixed }
}

static PLACE: ObjectSchema = any(&[("id", Uri)], &["id"]);

static QUANTITY: ObjectSchema =
    closed(&[("epcClass", Uri), ("quantity", Number), ("uom", Unit)], &["epcClass"]);

static BIZ_TRANSACTION: ObjectSchema =
    closed(&[("type", Term(TRANSACTION_TYPES)), ("bizTransaction", Uri)], &["bizTransaction"]);

static SOURCE: ObjectSchema =
    closed(&[("type", Term(SOURCE_DEST_TYPES)), ("source", Uri)], &["type", "source"]);

static DESTINATION: ObjectSchema =
    closed(&[("type", Term(SOURCE_DEST_TYPES)), ("destination", Uri)], &["type", "destination"]);

static PERSISTENT: ObjectSchema =
    closed(&[("set", Terms(DISPOSITIONS)), ("unset", Terms(DISPOSITIONS))], &[]);

static ILMD: ObjectSchema = open(&[], &[]);

static ERROR: ObjectSchema = open(
    &[
        ("declarationTime", Time),
        ("reason", Term(&["did_not_occur", "incorrect_data"])),
        ("correctiveEventIDs", Uris),
    ],
    &["declarationTime"],
);

/// GS1's examples give the type `epcis:SensorElement`, which the schema does not name.
static SENSOR: ObjectSchema = open(
    &[
        ("type", Text),
        ("sensorMetadata", Object(&SENSOR_METADATA)),
        ("sensorReport", NonEmptyList(&SENSOR_REPORT)),
    ],
    &["sensorReport"],
);

static SENSOR_METADATA: ObjectSchema = open(
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

static SENSOR_REPORT: ObjectSchema = open(
    &[
        ("type", WebTerm(MEASUREMENT_TYPES)),
        ("exception", WebTerm(&["ALARM_CONDITION", "ERROR_CONDITION"])),
        ("deviceID", Uri),
        ("deviceMetadata", Uri),
        ("rawData", Uri),
        ("dataProcessingMethod", Uri),
        ("time", Time),
        ("microorganism", Uri),
        ("chemicalSubstance", Uri),
        ("coordinateReferenceSystem", Uri),
        ("value", Number),
        ("component", Term(COMPONENTS)),
        ("stringValue", Text),
        ("booleanValue", Boolean),
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

/// An EPCIS document (§9.5).
pub(super) static DOCUMENT: ObjectSchema = open(
    &[
        ("@context", Context),
        ("id", Node),
        ("type", Text),
        ("schemaVersion", Version),
        ("creationDate", Time),
        ("instanceIdentifier", Text),
        ("sender", Text),
        ("receiver", Text),
        ("epcisHeader", Object(&HEADER)),
        ("epcisBody", Object(&BODY)),
    ],
    &["@context", "type", "schemaVersion", "creationDate", "epcisBody"],
);

static HEADER: ObjectSchema = open(&[("epcisMasterData", Object(&MASTER_DATA))], &[]);

static MASTER_DATA: ObjectSchema = any(&[("vocabularyList", List(&VOCABULARY))], &[]);

/// Master data (§9.4). It is validated and not stored.
static VOCABULARY: ObjectSchema =
    any(&[("type", Uri), ("vocabularyElementList", List(&VOCABULARY_ELEMENT))], &["type"]);

static VOCABULARY_ELEMENT: ObjectSchema =
    any(&[("id", Uri), ("attributes", List(&ATTRIBUTE)), ("children", Uris)], &["id"]);

static ATTRIBUTE: ObjectSchema = any(&[("id", Uri), ("attribute", AttributeValue)], &["id"]);

static BODY: ObjectSchema = any(&[("eventList", Array)], &["eventList"]);

/// A query response of another repository (§9.5).
pub(super) static QUERY_DOCUMENT: ObjectSchema = open(
    &[
        ("@context", Context),
        ("id", Node),
        ("type", Text),
        ("schemaVersion", Version),
        ("creationDate", Time),
        ("epcisBody", Object(&QUERY_BODY)),
    ],
    &["@context", "type", "epcisBody"],
);

static QUERY_BODY: ObjectSchema = open(&[("queryResults", Object(&RESULTS))], &["queryResults"]);

static RESULTS: ObjectSchema = open(
    &[("queryName", Text), ("subscriptionID", Text), ("resultsBody", Object(&RESULTS_BODY))],
    &["queryName", "resultsBody"],
);

static RESULTS_BODY: ObjectSchema =
    open(&[("eventList", Array), ("vocabularyList", List(&VOCABULARY))], &["eventList"]);
