//! The functions of PostgreSQL that clients call besides the catalog crate's: who is asking, the
//! session's settings, and what has one answer here.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, StringArray},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    common::ScalarValue,
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
    prelude::SessionContext,
};

use super::OWNER;
use crate::pg::{
    session::Identity,
    settings::{self, SERVER_VERSION, Settings},
};

/// Functions whose answer is NULL, as text: there is nothing to describe.
const NULLS: &[&str] = &[
    "col_description",
    "obj_description",
    "pg_get_function_arg_default",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_function_sqlbody",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_triggerdef",
    "pg_get_viewdef",
    "pg_size_pretty",
    "pg_tablespace_location",
    "shobj_description",
];

/// Functions whose answer is yes.
const TRUTHS: &[&str] = &[
    "has_column_privilege",
    "has_function_privilege",
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_function_is_visible",
    "pg_opclass_is_visible",
    "pg_operator_is_visible",
    "pg_opfamily_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "pg_type_is_visible",
];

/// Functions whose answer is no.
const FALSEHOODS: &[&str] =
    &["pg_is_in_recovery", "pg_is_other_temp_schema", "pg_has_role", "row_security_active"];

/// Registers what is the same for everybody.
pub(super) fn register(context: &SessionContext) {
    let all = NULLS
        .iter()
        .map(|name| (*name, ScalarValue::Utf8(None)))
        .chain(TRUTHS.iter().map(|name| (*name, ScalarValue::Boolean(Some(true)))))
        .chain(FALSEHOODS.iter().map(|name| (*name, ScalarValue::Boolean(Some(false)))))
        .chain([
            ("pg_my_temp_schema", ScalarValue::Int32(Some(0))),
            ("pg_database_size", ScalarValue::Int64(None)),
            ("pg_table_size", ScalarValue::Int64(None)),
            ("pg_tablespace_size", ScalarValue::Int64(None)),
            // The only one there is.
            ("getdatabaseencoding", ScalarValue::from("UTF8")),
            ("pg_encoding_to_char", ScalarValue::from("UTF8")),
            ("pg_char_to_encoding", ScalarValue::Int32(Some(6))),
            ("pg_get_userbyid", ScalarValue::from(OWNER)),
            ("version", ScalarValue::from(version())),
        ]);
    all.for_each(|(name, value)| context.register_udf(Always::function(name, value)));
}

/// Registers what a session has of its own.
pub(super) fn register_for(context: &SessionContext, identity: &Identity) {
    let user = ScalarValue::from(identity.user.as_str());
    for name in ["session_user", "current_user", "user"] {
        context.register_udf(Always::function(name, user.clone()));
    }
    let database = ScalarValue::from(identity.database.as_str());
    context.register_udf(Always::function("current_database", database));
    let process = ScalarValue::Int32(Some(identity.process));
    context.register_udf(Always::function("pg_backend_pid", process));
    for name in ["current_setting", "set_config"] {
        context.register_udf(ScalarUDF::from(Setting {
            name,
            settings: Arc::clone(&identity.settings),
            signature: Signature::variadic_any(Volatility::Volatile),
        }));
    }
}

fn version() -> String {
    let (ours, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    format!("PostgreSQL {SERVER_VERSION} (StreamHouse {ours}) on {machine}")
}

/// A function with one answer, whatever it is asked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Always {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Always {
    fn function(name: &'static str, value: ScalarValue) -> ScalarUDF {
        let signature = Signature::one_of(
            vec![
                datafusion::logical_expr::TypeSignature::Nullary,
                datafusion::logical_expr::TypeSignature::VariadicAny,
            ],
            Volatility::Stable,
        );
        ScalarUDF::from(Self { name, value, signature })
    }
}

impl ScalarUDFImpl for Always {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// `current_setting(name [, missing_ok])` and `set_config(name, value, is_local)`.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    settings: Arc<Mutex<Settings>>,
    signature: Signature,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.settings, &other.settings)
    }
}

impl Eq for Setting {}

impl Hash for Setting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Setting {
    fn answer(&self, name: &str, argument: Option<&str>) -> Result<Option<String>> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if self.name == "set_config" {
            settings
                .set(name, Some(argument.unwrap_or_default()))
                .map_err(|error| DataFusionError::Execution(error.to_string()))?;
            return Ok(settings.get(name));
        }
        match settings.get(name) {
            None if argument == Some("true") => Ok(None),
            None => Err(DataFusionError::Execution(settings::unknown(name).to_string())),
            value => Ok(value),
        }
    }
}

impl ScalarUDFImpl for Setting {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |value: &ColumnarValue| -> Result<ArrayRef> {
            Ok(cast(&value.to_array(args.number_rows)?, &DataType::Utf8)?)
        };
        let Some(names) = args.args.first() else {
            return Err(DataFusionError::Plan(format!("{} needs a name", self.name)));
        };
        let names = text(names)?;
        let arguments = args.args.get(1).map(text).transpose()?;
        let answers = (0..names.len()).map(|row| {
            let argument = arguments.as_ref().map(|arguments| arguments.as_string::<i32>());
            let argument = argument.filter(|a| a.is_valid(row)).map(|a| a.value(row));
            self.answer(names.as_string::<i32>().value(row), argument)
        });
        let answers = answers.collect::<Result<StringArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}
