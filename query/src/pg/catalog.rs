//! The system catalog that clients of PostgreSQL ask: `datafusion-pg-catalog`'s, over our tables.
//!
//! One for all sessions, so that a table keeps its OID from one connection to the next. What we
//! never have (indexes, constraints, …) is empty here, where the crate shows a PostgreSQL's own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider, CatalogProviderList as _, MemTable, MemoryCatalogProvider,
        MemoryCatalogProviderList, SchemaProvider, TableProvider, streaming::StreamingTable,
    },
    datasource::TableType,
    error::{DataFusionError, Result},
    execution::{SessionState, SessionStateBuilder},
    physical_plan::streaming::PartitionStream,
    prelude::SessionContext,
};
use datafusion_pg_catalog::{
    pg_catalog::{
        PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable,
        catalog_info::CatalogInfo,
        context::{EmptyContextProvider, PgCatalogContextProvider, Role},
    },
    setup_pg_catalog,
};
use tracing::warn;

use self::{
    attributes::Attributes, classes::Classes, databases::Databases, information::Information,
};
use super::{session::Identity, settings::Settings};
use crate::{
    catalog::{QueryCatalog, QuerySchema, Tables},
    engine::{CATALOG, QueryEngine, TIMEOUT_DEFAULT},
    error::QueryError,
};

mod attributes;
mod classes;
mod databases;
mod functions;
mod information;
mod parameters;

/// The schema of the catalog.
const SYSTEM: &str = "pg_catalog";
/// Who owns everything.
const OWNER: &str = "streamhouse";

/// Relations without a row: there is nothing of the kind.
const EMPTY: &[&str] = &[
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_auth_members",
    "pg_constraint",
    "pg_conversion",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_init_privs",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_matviews",
    "pg_opclass",
    "pg_opfamily",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_replication_origin",
    "pg_replication_slots",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_shdepend",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_user_mapping",
    "pg_views",
];

/// Relations that the crate does not have, all of them empty, with their columns of text.
const ADDED: &[(&str, &[&str])] = &[
    ("pg_indexes", &["schemaname", "tablename", "indexname", "tablespace", "indexdef"]),
    ("pg_policies", &["schemaname", "tablename", "policyname", "permissive", "cmd", "qual"]),
    ("pg_rules", &["schemaname", "tablename", "rulename", "definition"]),
    ("pg_sequences", &["schemaname", "sequencename", "sequenceowner", "data_type"]),
    ("pg_user_mappings", &["umid", "srvid", "srvname", "umuser", "usename", "umoptions"]),
    ("pg_stat_activity", &["datname", "usename", "application_name", "state", "query"]),
];

/// Whether a relation is the catalog's.
pub(super) fn is_system_table(name: &str) -> bool {
    PG_CATALOG_TABLES.iter().any(|table| table.eq_ignore_ascii_case(name)) || added(name).is_some()
}

/// Whether a relation of the catalog never has a row.
pub(super) fn is_always_empty(name: &str) -> bool {
    EMPTY.iter().any(|table| table.eq_ignore_ascii_case(name)) || added(name).is_some()
}

fn added(name: &str) -> Option<&'static [&'static str]> {
    ADDED.iter().find(|(table, _)| table.eq_ignore_ascii_case(name)).map(|(_, columns)| *columns)
}

/// Makes sessions that see tables and catalog.
#[derive(Debug)]
pub(super) struct Catalog {
    template: SessionState,
    tables: Arc<Tables>,
    relations: Arc<Relations>,
}

impl Catalog {
    pub(super) fn new(engine: &QueryEngine) -> Result<Self, QueryError> {
        let context = engine.session_within(TIMEOUT_DEFAULT);
        let relations = Self::prepare(&context, engine).map_err(QueryError::Execution)?;
        let tables = Arc::clone(engine.tables());
        Ok(Self { template: context.state(), tables, relations: Arc::new(relations) })
    }

    fn prepare(context: &SessionContext, engine: &QueryEngine) -> Result<Relations> {
        // For its functions and types; its relations are replaced, with all catalogs.
        context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        setup_pg_catalog(context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        functions::register(context);
        let state = context.state_ref();
        let mut state = state.write();
        let options = state.config_mut().options_mut();
        // Errors then say where in the statement they are.
        options.sql_parser.collect_spans = true;
        // Ours is registered.
        options.catalog.information_schema = false;
        drop(state);
        Relations::new(Arc::clone(engine.tables()))
    }

    /// A session for one connection, to a database of the name that it gave.
    pub(super) fn session(&self, identity: &Identity) -> Result<SessionContext, QueryError> {
        self.within(identity).map_err(QueryError::Execution)
    }

    fn within(&self, identity: &Identity) -> Result<SessionContext> {
        let database = &identity.database;
        let (relations, shown) = (Arc::clone(&self.relations), self.relations.shown.clone());
        let settings = Arc::clone(&identity.settings);
        let system = System { relations, database: database.clone(), settings };
        let information = Information { shown, database: database.clone() };
        let system: [(_, Arc<dyn SchemaProvider>); 2] =
            [(SYSTEM, Arc::new(system)), (information::NAME, Arc::new(information))];
        let catalog: Arc<dyn CatalogProvider> = Arc::new(QueryCatalog {
            tables: Arc::clone(&self.tables),
            time: TIMEOUT_DEFAULT,
            system: BTreeMap::from(system),
        });
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::clone(&catalog));
        catalogs.register_catalog(database.clone(), catalog);
        let mut state = SessionStateBuilder::new_from_existing(self.template.clone())
            .with_catalog_list(Arc::new(catalogs))
            .build();
        let options = state.config_mut().options_mut();
        options.catalog.default_catalog.clone_from(database);
        let context = SessionContext::new_with_state(state);
        functions::register_for(&context, identity);
        Ok(context)
    }
}

/// What the catalog shows: our tables, and itself.
#[derive(Debug, Clone)]
struct Shown {
    tables: Arc<Tables>,
    system: Arc<BTreeMap<String, SchemaRef>>,
}

impl Shown {
    fn schema(&self, namespace: &str) -> QuerySchema {
        let (tables, namespace) = (Arc::clone(&self.tables), namespace.to_owned());
        QuerySchema { tables, namespace, time: TIMEOUT_DEFAULT }
    }

    /// The schemas of tables, and the system's.
    fn schemas(&self) -> Vec<String> {
        let mut schemas = self.tables.namespaces();
        schemas.push(SYSTEM.to_owned());
        schemas
    }

    async fn columns(&self, schema: &str, table: &str) -> Result<Option<SchemaRef>> {
        if schema == SYSTEM {
            return Ok(self.system.get(table).map(Arc::clone));
        }
        // One table that cannot be read does not hide the others.
        match self.schema(schema).table(table).await {
            Ok(found) => Ok(found.map(|table| table.schema())),
            Err(error) => {
                warn!(table, %error, "not shown in the system catalog");
                Ok(None)
            }
        }
    }

    fn names(&self, schema: &str) -> Vec<String> {
        match schema {
            SYSTEM => self.system.keys().cloned().collect(),
            _ => self.schema(schema).table_names(),
        }
    }
}

#[async_trait]
impl CatalogInfo for Shown {
    async fn catalog_names(&self) -> Result<Vec<String>> {
        Ok(vec![CATALOG.to_owned()])
    }

    async fn schema_names(&self, _: &str) -> Result<Option<Vec<String>>> {
        let mut schemas = self.schemas();
        schemas.push(information::NAME.to_owned());
        Ok(Some(schemas))
    }

    async fn table_names(&self, _: &str, schema: &str) -> Result<Option<Vec<String>>> {
        Ok(Some(self.names(schema)))
    }

    async fn table_schema(&self, _: &str, schema: &str, table: &str) -> Result<Option<SchemaRef>> {
        self.columns(schema, table).await
    }

    async fn table_type(&self, _: &str, _: &str, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }
}

/// The one role there is.
#[derive(Debug, Clone)]
struct Roles;

#[async_trait]
impl PgCatalogContextProvider for Roles {
    async fn roles(&self) -> Vec<String> {
        vec![OWNER.to_owned()]
    }

    async fn role(&self, name: &str) -> Option<Role> {
        (name == OWNER).then(|| Role {
            name: OWNER.to_owned(),
            is_superuser: false,
            can_login: true,
            can_create_db: false,
            can_create_role: false,
            can_create_user: false,
            can_replication: false,
            grants: Vec::new(),
            inherited_roles: Vec::new(),
        })
    }
}

type Crates<P> = PgCatalogSchemaProvider<Shown, P>;

/// The relations of the catalog, the same for all sessions.
#[derive(Debug)]
struct Relations {
    inner: Crates<Roles>,
    shown: Shown,
}

impl Relations {
    fn new(tables: Arc<Tables>) -> Result<Self> {
        let statics = Arc::new(PgCatalogStaticTables::try_new()?);
        let none = Shown { tables: Arc::clone(&tables), system: Arc::default() };
        let schemas = Crates::try_new(none, Arc::clone(&statics), EmptyContextProvider)?;
        let mut system = BTreeMap::new();
        for name in PG_CATALOG_TABLES {
            if let Some(table) = schemas.build_table_by_name(name)? {
                system.insert((*name).to_owned(), table.schema());
            }
        }
        if let Some(schema) = system.get_mut(classes::NAME) {
            *schema = classes::schema(schema);
        }
        system.insert(parameters::NAME.to_owned(), parameters::schema());
        system.extend(ADDED.iter().map(|(name, columns)| ((*name).to_owned(), texts(columns))));
        let shown = Shown { tables, system: Arc::new(system) };
        Ok(Self { inner: Crates::try_new(shown.clone(), statics, Roles)?, shown })
    }

    /// A relation that is ours, or an addition to the crate's.
    fn stream(&self, name: &str, database: &str) -> Result<Option<Arc<dyn PartitionStream>>> {
        let inner = || match self.inner.build_table_by_name(name)? {
            Some(PgCatalogTable::Dynamic(inner)) => Ok(inner),
            _ => Err(DataFusionError::Internal(format!("{name} is no longer dynamic"))),
        };
        Ok(Some(match name {
            attributes::NAME => Arc::new(Attributes::new(&self.inner, self.shown.clone())?),
            classes::NAME => Arc::new(Classes::new(inner()?)),
            databases::NAME => {
                Arc::new(Databases { inner: inner()?, database: database.to_owned() })
            }
            _ => return Ok(None),
        }))
    }
}

fn texts(columns: &[&str]) -> SchemaRef {
    let fields = columns.iter().map(|name| Field::new(*name, DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The schema `pg_catalog` of a session.
#[derive(Debug)]
struct System {
    relations: Arc<Relations>,
    database: String,
    settings: Arc<Mutex<Settings>>,
}

#[async_trait]
impl SchemaProvider for System {
    fn table_names(&self) -> Vec<String> {
        self.relations.shown.names(SYSTEM)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let name = name.to_ascii_lowercase();
        if is_always_empty(&name)
            && let Some(schema) = self.relations.shown.system.get(&name)
        {
            return Ok(Some(Arc::new(MemTable::try_new(Arc::clone(schema), vec![vec![]])?)));
        }
        if name == parameters::NAME {
            let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(Some(Arc::new(parameters::table(&settings)?)));
        }
        if let Some(stream) = self.relations.stream(&name, &self.database)? {
            let schema = Arc::clone(stream.schema());
            return Ok(Some(Arc::new(StreamingTable::try_new(schema, vec![stream])?)));
        }
        self.relations.inner.table(&name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        is_system_table(name)
    }
}
