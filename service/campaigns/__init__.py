"""Query campaigns: many near-identical images from one principal, as black-box attacks send them.

An attack that cannot see the network asks it again and again about small variations of one image.
Each image's path and pixels become a short `Query`; a window for each principal counts how many
earlier, different queries of it a new one is nearly identical to; enough of them are a campaign.

What the window cannot tell: frames of a still camera, or a sweep of small changes made for a
robustness test, are many near-identical images too and look like a campaign. Principals that send
such things are to be exempted. Nor does a window see an attack spread over many principals, one
image apart in each, or one slower than its span.

Knows neither gRPC nor torch: bits and pixels come as arrays, the time from a clock.
"""

from service.campaigns.guard import CampaignError, CampaignGuard, CampaignObserver, CampaignPolicy
from service.campaigns.hashing import Query, QueryHasher
from service.campaigns.principals import principal_of_peer
from service.campaigns.rule import CampaignRule
from service.campaigns.watch import CampaignWatch, Sighting
from service.campaigns.window import QueryWindow

__all__ = [
    "CampaignError",
    "CampaignGuard",
    "CampaignObserver",
    "CampaignPolicy",
    "CampaignRule",
    "CampaignWatch",
    "Query",
    "QueryHasher",
    "QueryWindow",
    "Sighting",
    "principal_of_peer",
]
