//! What the double serves: two kinds of objects and seven verbs, named as Kubernetes names them in
//! paths, roles and messages.

/// A kind of objects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Resource {
    /// `coordination.k8s.io/v1` Leases.
    Leases,
    /// `v1` Pods.
    Pods,
}

impl Resource {
    /// Both.
    pub const ALL: [Resource; 2] = [Resource::Leases, Resource::Pods];

    /// The word in paths and roles.
    pub fn plural(self) -> &'static str {
        match self {
            Resource::Leases => "leases",
            Resource::Pods => "pods",
        }
    }

    /// The word in objects.
    pub fn kind(self) -> &'static str {
        match self {
            Resource::Leases => "Lease",
            Resource::Pods => "Pod",
        }
    }

    /// The API group; empty for the core.
    pub fn group(self) -> &'static str {
        match self {
            Resource::Leases => "coordination.k8s.io",
            Resource::Pods => "",
        }
    }

    /// Group and version as objects carry them.
    pub fn api_version(self) -> &'static str {
        match self {
            Resource::Leases => "coordination.k8s.io/v1",
            Resource::Pods => "v1",
        }
    }

    /// `leases.coordination.k8s.io`, `pods`: how messages name the resource.
    pub fn qualified(self) -> String {
        self.with_group(self.plural())
    }

    /// `Lease.coordination.k8s.io`, `Pod`: how messages name the kind.
    pub fn qualified_kind(self) -> String {
        self.with_group(self.kind())
    }

    fn with_group(self, word: &str) -> String {
        match self.group() {
            "" => word.to_owned(),
            group => format!("{word}.{group}"),
        }
    }

    /// The resource of an object, from its `apiVersion` and `kind`.
    pub fn of(api_version: &str, kind: &str) -> Option<Resource> {
        Resource::ALL
            .into_iter()
            .find(|it| it.api_version() == api_version && it.kind() == kind)
    }
}

/// What a request does; the words of roles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verb {
    /// Read one by name.
    Get,
    /// Read all that match.
    List,
    /// Hear of changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one by name.
    Delete,
}

impl Verb {
    /// The word in roles.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }
}
