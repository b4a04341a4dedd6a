package wire

// ProtocolVersion is what this code speaks; MinProtocolVersion is the oldest a server still serves.
// Fields are added, never re-used; only a breaking change raises the number.
//
// History:
//
//	1  2026-11-23  first version.
//	   2026-11-24  FinishReply.ListingRefused: a listing that rode on a finish and was not taken is made anew.
//	   2026-11-27  schedules: HelloRequest.Features, Configure.Schedule, ticks, adopt. A job may name a repository by RepositoryTarget.
//	   2026-11-27  the kind rotate_key, Secrets.SecondPassword; InitSpec.IfMissing for agents with FeatureInitIfMissing.
//	   2026-11-27  hold: a request that is held and asks for nothing, to try the way.
//	   2026-11-27  hooks: FeatureHooks, HelloRequest.Hooks, BackupSpec.HooksBefore and what follows it, Offer.PolicyID, Summary.Hooks, hook_failed.
//	   2026-11-27  the kind estimate with FinishRequest.Estimate, for agents whose HelloRequest.Features hold it.
const (
	ProtocolVersion    = 1
	MinProtocolVersion = 1
)
