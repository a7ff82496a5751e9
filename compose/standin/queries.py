"""How many queries Coder's handlers make: one table, route by route.

A name stands for one query of Coder (coderd/database/queries.sql.go), a name in a tuple with others for queries that run
at the same time, each on its own connection. `READ` marks what was read in the source named beside it, authorization
(coderd/database/dbauthz) included; `ESTIMATE` what was recalled or derived from similar handlers, so nobody should lean on
it. Both assume success, an owner's own key that was used within the hour, and workspaces that have an agent.

A query is one round trip here. Coder's driver makes two of a query with arguments, since it first asks for the types of the
arguments (lib/pq issue 636; `binary_parameters`, which Coder does not set as far as is known, would save one). On a small
machine that costs more than all the rest, so it has to be asked for: STANDIN_TRIPS_PER_QUERY=2.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

Wave = str | tuple[str, ...]
"""One query, or some at the same time."""


class Source(Enum):
    """How a row of the table is known."""

    READ = "read in Coder's source"
    ESTIMATE = "unverified"


READ, ESTIMATE = Source.READ, Source.ESTIMATE

_FRAME: Final = frozenset({"BEGIN", "SET TRANSACTION", "COMMIT"})
_PLAIN: Final = _FRAME | frozenset(
    {"GetApplicationName", "GetLogoURL", "GetAnnouncementBanners", "GetDeploymentID",
     "GetDefaultProxyConfig", "GetWorkspaceProxies", "GetHealthSettings", "Ping"}
)  # fmt: skip
"""What has no arguments, so it is one round trip."""


def _flat(waves: tuple[Wave, ...]) -> tuple[str, ...]:
    return tuple(name for wave in waves for name in ((wave,) if isinstance(wave, str) else wave))


def _cost(name: str, each: int) -> int:
    return 1 if name in _PLAIN else each


@dataclass(frozen=True, slots=True)
class Plan:
    """The queries of one handler. ``within`` are those inside its transaction, which holds one connection meanwhile."""

    source: Source
    waves: tuple[Wave, ...] = ()
    within: tuple[Wave, ...] = ()

    def trips(self, each: int = 1) -> int:
        """How many round trips that is, at ``each`` per query with arguments."""
        return sum(_cost(name, each) for name in _flat((*self.waves, *self.within)))

    def trips_within(self, each: int = 1) -> int:
        """How many of them are inside the transaction."""
        return sum(_cost(name, each) for name in _flat(self.within))

    def groups(self, each: int = 1) -> list[list[int]]:
        """The round trips of each query of those that run at the same time, wave by wave."""
        return [[_cost(name, each) for name in wave] for wave in self.waves if isinstance(wave, tuple)]

    def names(self) -> list[str]:
        """The queries in order, transactions and messages aside."""
        every = _flat((*self.waves, *self.within))
        return [name for name in every if name not in _FRAME and not name.startswith("NOTIFY")]


# coderd/httpmw/apikey.go. Custom roles would be one more.
_AUTH: Final = ("GetAPIKeyByID", "GetAuthorizationUserRoles")
# coderd/workspacebuilds.go workspaceBuildsData
_BUILDS_DATA: Final[tuple[Wave, ...]] = (
    "GetProvisionerJobsByIDsWithQueuePosition",
    "GetEligibleProvisionerDaemonsByProvisionerJobIDs",
    "GetTemplateVersionsByIDs",
    "GetWorkspaceResourcesByJobIDs",
    "GetWorkspaceResourceMetadataByResourceIDs",
    "GetWorkspaceAgentsByResourceIDs",
    ("GetWorkspaceAppsByAgentIDs", "GetWorkspaceAgentScriptsByAgentIDs", "GetWorkspaceAgentLogSourcesByAgentIDs"),
    "GetWorkspaceAppStatusesByAppIDs",
)
# coderd/workspaces.go workspaceData
_WORKSPACE_DATA: Final[tuple[Wave, ...]] = (
    ("GetTemplatesWithFilter", "GetLatestWorkspaceBuildsByWorkspaceIDs", "GetLatestWorkspaceAppStatusesByWorkspaceIDs"),
    *_BUILDS_DATA,
)
_WORKSPACE: Final = (*_AUTH, "GetWorkspaceByID")  # httpmw/workspaceparam.go
_USER: Final = (*_AUTH, "GetUserByID")  # httpmw/userparam.go
_ORGANIZATION: Final = (*_AUTH, "GetOrganizationByID")  # httpmw/organizationparam.go
_VERSION: Final = (
    *_AUTH,
    "GetTemplateVersionByID",
    "GetTemplateByID",
    "GetTemplateByID",
)  # httpmw/templateversionparam.go
_BUILD: Final = (
    *_AUTH,
    "GetWorkspaceBuildByID",
    "GetWorkspaceByID",
    "GetWorkspaceByID",
)  # httpmw/workspacebuildparam.go
_JOB: Final = ("GetProvisionerJobByID", "GetWorkspaceBuildByJobID", "GetWorkspaceByID")  # dbauthz
_IMPORT: Final = ("GetProvisionerJobByID", "GetTemplateVersionByJobID", "GetTemplateByID")  # dbauthz
_LAST: Final = ("GetLatestWorkspaceBuildByWorkspaceID", "GetWorkspaceByID")  # dbauthz
# coderd/wsbuilder/wsbuilder.go buildTx, up to the check for a running build
_BUILDER_CHECKS: Final[tuple[Wave, ...]] = ("GetTemplateByID", "GetTemplateVersionByID", "GetTemplateByID", *_IMPORT)
# and from there on; the parameters are an estimate
_BUILDER_INSERTS: Final[tuple[Wave, ...]] = (
    "GetTemplateVersionWorkspaceTags",
    "InsertProvisionerJob",
    "GetEligibleProvisionerDaemonsByProvisionerJobIDs",
    "GetParameterSchemasByJobID",
    "GetTemplateVersionTerraformValues",
    "GetTemplateVersionVariables",
    "GetWorkspaceBuildParameters",
    "GetActivePresetByMatchingParameters",
    "GetWorkspaceByID",
    "InsertWorkspaceBuild",
    "GetWorkspaceBuildByID",
    "GetWorkspaceByID",
    "InsertWorkspaceBuildParameters",
    "GetWorkspaceBuildByID",
    "GetWorkspaceByID",
)
_CREATE: Final = Plan(
    ESTIMATE,
    (
        *_USER, "GetTemplateByID", "GetTemplateScheduleByID", "GetWorkspaceByOwnerIDAndName",
        "NOTIFY provisioner_job_posted", "GetUsers owner", "GetUsers template-admin", "InsertAuditLog",
    ),
    ("BEGIN", "GetActivePresetByMatchingParameters", "InsertWorkspace", "GetWorkspaceByID", *_BUILDER_CHECKS, _LAST[0],
     *_BUILDER_INSERTS, "COMMIT"),
)  # fmt: skip
_SETTING: Final = Plan(
    ESTIMATE, (*_WORKSPACE, "GetTemplateByID", "GetWorkspaceByID", "UpdateWorkspace", "NOTIFY", "InsertAuditLog")
)
_LISTED: Final = Plan(ESTIMATE, (*_VERSION, *_IMPORT[:1], "GetTemplateVersionPart"))

PLANS: Final[dict[str, Plan]] = {
    # No database at all: values known at start, or kept in memory.
    **{f"GET {path}": Plan(READ) for path in ("/", "/buildinfo", "/users/authmethods")},
    "GET /updatecheck": Plan(ESTIMATE),
    # In memory behind the key.
    **{f"GET {path}": Plan(ESTIMATE, _AUTH) for path in (
        "/entitlements", "/experiments", "/deployment/stats", "/deployment/config", "/deployment/ssh", "/applications/host",
        "/templates/examples",
    )},
    "GET /debug/ws": Plan(READ, _AUTH),
    "GET /debug/health": Plan(ESTIMATE, (*_AUTH, "GetHealthSettings")),
    "GET /debug/health, measured": Plan(ESTIMATE, (*_AUTH, "GetHealthSettings", "GetProvisionerDaemons", *(5 * ["Ping"]))),
    "GET /debug/metrics": Plan(ESTIMATE, _AUTH),
    "GET /appearance": Plan(READ, (("GetApplicationName", "GetLogoURL", "GetAnnouncementBanners"),)),
    "GET /replicas": Plan(ESTIMATE, _AUTH),
    "GET /regions": Plan(ESTIMATE, (*_AUTH, "GetDefaultProxyConfig", "GetDeploymentID", "GetWorkspaceProxies")),
    "GET /workspaceproxies": Plan(ESTIMATE, (*_AUTH, "GetDefaultProxyConfig", "GetDeploymentID", "GetWorkspaceProxies")),
    # One more for every check that names a resource's id; the dashboard's shell names none.
    "POST /authcheck": Plan(ESTIMATE, _AUTH),
    "GET /connectionlog": Plan(ESTIMATE, (*_AUTH, ("GetConnectionLogsOffset", "CountConnectionLogs"))),
    # coderd/users.go, userauth.go, apikey.go, organizations.go
    "GET /users/first": Plan(ESTIMATE, ("GetUserCount",)),
    "POST /users/first": Plan(ESTIMATE, ("GetUserCount", "GetDefaultOrganization", "NOTIFY", "InsertAuditLog"),
        ("BEGIN", "InsertUser", "InsertGitSSHKey", "InsertOrganizationMember", "UpdateUserRoles", "COMMIT")),
    "POST /users/login": Plan(ESTIMATE, ("GetUserByEmailOrUsername", "GetAuthorizationUserRoles", "InsertAPIKey",
        "UpdateUserLastSeenAt", "InsertAuditLog")),
    "POST /users/logout": Plan(ESTIMATE, (*_AUTH, "DeleteAPIKeyByID", "DeleteApplicationConnectAPIKeysByUserID",
        "InsertAuditLog")),
    "GET /users": Plan(ESTIMATE, (*_AUTH, "GetUsers", "GetOrganizationIDsByMemberIDs")),
    "POST /users": Plan(ESTIMATE, (*_AUTH, "GetUserByEmailOrUsername", "GetOrganizationByID", "GetUsers owner",
        "GetUserByID", "InsertAuditLog"),
        ("BEGIN", "InsertUser", "InsertGitSSHKey", "InsertOrganizationMember", "COMMIT")),
    "GET /users/{user}": Plan(ESTIMATE, (*_USER, "GetOrganizationIDsByMemberIDs")),
    "DELETE /users/{user}": Plan(ESTIMATE, (*_USER, "GetWorkspaces", "GetUserByID", "UpdateUserDeletedByID",
        "GetUsers owner", "InsertAuditLog")),
    "GET /users/{user}/organizations": Plan(ESTIMATE, (*_USER, "GetOrganizationsByUserID")),
    **{f"{verb} /users/{{user}}/{part}": Plan(ESTIMATE, (*_USER, "GetOrUpdateUserConfig", "GetOrUpdateUserConfig"))
       for verb in ("GET", "PUT") for part in ("appearance", "preferences")},
    "POST /users/{user}/keys": Plan(ESTIMATE, (*_USER, "InsertAPIKey", "GetAPIKeyByID"), ("BEGIN", "COMMIT")),
    "POST /users/{user}/keys/tokens": Plan(ESTIMATE, (*_USER, "InsertAPIKey", "InsertAuditLog"), ("BEGIN", "COMMIT")),
    "GET /users/{user}/keys/tokens": Plan(ESTIMATE, (*_USER, "GetAPIKeysByUserID")),
    "DELETE /users/{user}/keys/{keyid}": Plan(ESTIMATE, (*_USER, "GetAPIKeyByID", "DeleteAPIKeyByID", "InsertAuditLog")),
    "GET /organizations": Plan(ESTIMATE, (*_AUTH, "GetOrganizations")),
    "GET /organizations/{organization}": Plan(ESTIMATE, _ORGANIZATION),
    "GET /organizations/{organization}/members": Plan(ESTIMATE, (*_ORGANIZATION, "OrganizationMembers")),
    "GET /organizations/{organization}/paginated-members": Plan(ESTIMATE, (*_ORGANIZATION, "PaginatedOrganizationMembers")),
    "GET /organizations/{organization}/settings/workspace-sharing": Plan(ESTIMATE, _ORGANIZATION),
    # coderd/templates.go, templateversions.go, files.go
    "POST /files": Plan(ESTIMATE, (*_AUTH, "GetFileByHashAndCreator", "InsertFile")),
    "GET /templates": Plan(ESTIMATE, (*_AUTH, "GetAuthorizedTemplates")),
    "GET /organizations/{organization}/templates": Plan(ESTIMATE, (*_ORGANIZATION, "GetAuthorizedTemplates")),
    "GET /organizations/{organization}/templates/{templatename}": Plan(ESTIMATE,
        (*_ORGANIZATION, "GetTemplateByOrganizationAndName")),
    "GET /templates/{template}": Plan(ESTIMATE, (*_AUTH, "GetTemplateByID")),
    "DELETE /templates/{template}": Plan(ESTIMATE, (*_AUTH, "GetTemplateByID", "GetWorkspaces", "GetTemplateByID",
        "UpdateTemplateDeletedByID", "GetUsers template-admin", "InsertAuditLog")),
    "POST /organizations/{organization}/templates": Plan(ESTIMATE, (*_ORGANIZATION, "GetTemplateByOrganizationAndName",
        "GetTemplateVersionByID", *_IMPORT, "InsertAuditLog"),
        ("BEGIN", "InsertTemplate", "UpdateTemplateScheduleByID", "UpdateTemplateVersionByID", "GetTemplateByID", "COMMIT")),
    "PATCH /templates/{template}/versions": Plan(ESTIMATE, (*_AUTH, "GetTemplateByID", "GetTemplateVersionByID",
        "GetTemplateByID", *_IMPORT, "NOTIFY", "InsertAuditLog"),
        ("BEGIN", "UpdateTemplateActiveVersionByID", "COMMIT")),
    "POST /organizations/{organization}/templateversions": Plan(ESTIMATE, (*_ORGANIZATION, "GetFileByID", "GetTemplateByID",
        "NOTIFY provisioner_job_posted", "InsertAuditLog"),
        ("BEGIN", "InsertProvisionerJob", "InsertTemplateVersion", "GetTemplateVersionByID", "GetProvisionerJobByID",
         "COMMIT")),
    "GET /templateversions/{templateversion}": Plan(ESTIMATE, (*_VERSION, "GetProvisionerJobsByIDsWithQueuePosition",
        "GetEligibleProvisionerDaemonsByProvisionerJobIDs")),
    **{f"GET /templateversions/{{templateversion}}/{part}": _LISTED for part in ("rich-parameters", "presets", "variables",
        "resources", "external-auth", "schema", "parameters")},
    "GET /templateversions/{templateversion}/dynamic-parameters": Plan(ESTIMATE, (*_VERSION, *_IMPORT,
        "GetTemplateVersionTerraformValues", "GetTemplateVersionVariables", "GetUserByID")),
    # coderd/workspaces.go
    "GET /workspaces": Plan(READ, (*_AUTH, "GetAuthorizedWorkspaces", *_WORKSPACE_DATA)),
    "GET /workspaces, none found": Plan(READ, (*_AUTH, "GetAuthorizedWorkspaces")),
    "GET /workspaces/{workspace}": Plan(READ, (*_WORKSPACE, *_WORKSPACE_DATA)),
    "GET /users/{user}/workspace/{workspacename}": Plan(READ, (*_USER, "GetWorkspaceByOwnerIDAndName", *_WORKSPACE_DATA)),
    "POST /users/{user}/workspaces": _CREATE,
    "POST /organizations/{organization}/members/{user}/workspaces": Plan(ESTIMATE,
        (*_CREATE.waves, "GetOrganizationByID", "OrganizationMembers"), _CREATE.within),
    **{f"PUT /workspaces/{{workspace}}/{part}": _SETTING
       for part in ("autostart", "ttl", "autoupdates", "favorite", "dormant", "extend")},
    "DELETE /workspaces/{workspace}/favorite": _SETTING,
    "POST /workspaces/{workspace}/usage": Plan(ESTIMATE, _WORKSPACE),
    "GET /workspaces/{workspace}/resolve-autostart": Plan(READ, (*_WORKSPACE, "GetTemplateByID")),
    "GET /workspaces/{workspace}/port-share": Plan(ESTIMATE, (*_WORKSPACE, "ListWorkspaceAgentPortShares")),
    "GET /workspaces/{workspace}/watch-ws": Plan(READ, _WORKSPACE),
    "GET /workspaces/{workspace}/watch": Plan(READ, _WORKSPACE),
    "event of a watched workspace": Plan(READ, ("GetWorkspaceByID", *_WORKSPACE_DATA)),
    # coderd/workspacebuilds.go, provisionerjobs.go
    "GET /workspaces/{workspace}/builds": Plan(READ, (*_WORKSPACE, *_BUILDS_DATA),
        ("BEGIN", "GetWorkspaceByID", "GetWorkspaceBuildsByWorkspaceID", "COMMIT")),
    "GET /workspacebuilds/{workspacebuild}": Plan(READ, (*_BUILD, *_BUILDS_DATA)),
    "POST /workspaces/{workspace}/builds": Plan(ESTIMATE, (*_WORKSPACE, "NOTIFY provisioner_job_posted", "NOTIFY workspace_owner"),
        ("BEGIN", "SET TRANSACTION", *_LAST, *_BUILDER_CHECKS, *_LAST, *_JOB, "GetWorkspaceBuildProvisionerStateByID",
         *_BUILDER_INSERTS, "COMMIT")),
    "PATCH /workspacebuilds/{workspacebuild}/cancel": Plan(READ, (*_BUILD, "GetWorkspaceByID", "NOTIFY workspace_owner"),
        ("BEGIN", "GetTemplateByID", "GetProvisionerJobByIDWithLock", *_JOB, "UpdateProvisionerJobWithCancelByID",
         "COMMIT")),
    "PATCH /templateversions/{templateversion}/cancel": Plan(ESTIMATE, (*_VERSION, *_IMPORT),
        ("BEGIN", "UpdateProvisionerJobWithCancelByID", "COMMIT")),
    "GET /workspacebuilds/{workspacebuild}/logs": Plan(READ, (*_BUILD, *_JOB, *_JOB, "GetProvisionerLogsAfterID")),
    "GET /templateversions/{templateversion}/logs": Plan(READ, (*_VERSION, *_IMPORT, *_IMPORT, "GetProvisionerLogsAfterID")),
    "event of followed logs": Plan(READ, (*_JOB, "GetProvisionerLogsAfterID")),
    "GET /workspacebuilds/{workspacebuild}/timings": Plan(ESTIMATE, (*_BUILD, "GetProvisionerJobTimingsByJobID",
        "GetWorkspaceAgentScriptTimingsByBuildID", *_JOB, "GetWorkspaceResourcesByJobID", "GetWorkspaceAgentsByResourceIDs")),
    "GET /workspaces/{workspace}/timings": Plan(ESTIMATE, (*_WORKSPACE, *_LAST, "GetProvisionerJobTimingsByJobID",
        "GetWorkspaceAgentScriptTimingsByBuildID", *_JOB, "GetWorkspaceResourcesByJobID", "GetWorkspaceAgentsByResourceIDs")),
    "GET /organizations/{organization}/provisionerjobs": Plan(READ, (*_ORGANIZATION, "GetProvisionerJobsByOrganization")),
    "GET /organizations/{organization}/provisionerjobs/{job}": Plan(READ,
        (*_ORGANIZATION, "GetProvisionerJobsByOrganization")),
    "GET /organizations/{organization}/provisionerdaemons": Plan(ESTIMATE,
        (*_ORGANIZATION, "GetProvisionerDaemonsWithStatusByOrganization")),
    # Enterprise quota, coderd/inboxnotifications.go, coderd/audit.go
    "GET /workspace-quota/{user}": Plan(ESTIMATE, (*_USER, "GetDefaultOrganization", "GetQuotaConsumedForUser",
        "GetQuotaAllowanceForUser")),
    "GET /organizations/{organization}/members/{user}/workspace-quota": Plan(ESTIMATE, (*_ORGANIZATION, "OrganizationMembers",
        "GetQuotaConsumedForUser", "GetQuotaAllowanceForUser")),
    "GET /notifications/inbox": Plan(READ, (*_AUTH, "GetFilteredInboxNotificationsByUserID",
        "CountUnreadInboxNotificationsByUserID")),
    "GET /notifications/inbox/watch": Plan(READ, _AUTH),
    "event of a watched inbox": Plan(READ, ("CountUnreadInboxNotificationsByUserID",)),
    "PUT /notifications/inbox/mark-all-as-read": Plan(READ, (*_AUTH, "MarkAllInboxNotificationsAsRead")),
    "PUT /notifications/inbox/{id}/read-status": Plan(READ, (*_AUTH, "GetInboxNotificationByID",
        "UpdateInboxNotificationReadStatus", "CountUnreadInboxNotificationsByUserID", "GetInboxNotificationByID")),
    "GET /audit": Plan(ESTIMATE, (*_AUTH, "CountAuditLogs", "GetAuditLogsOffset")),
    "POST /audit/testgenerate": Plan(ESTIMATE, (*_AUTH, "InsertAuditLog")),
}  # fmt: skip
"""What a request for a route costs, by method and path below ``/api/v2``, and what a message costs that a stream sends."""
