# Deny, unless a grant lets this principal reach this service.
#
# input.principal.names  every name a grant could have for the principal, the most exact first;
#                        an anonymous client has the name "anonymous" and no other
# data.grants            principal -> service -> conditions
package countersign.access

decision := {"allow": true, "rule": concat("", ["grant ", grants[0][0], " -> ", grants[0][1]])} if grants[0]

grants := [[principal, service] |
	some principal in input.principal.names
	some service in [input.request.service, "*"]
	data.grants[principal][service]
]
