"""Continued pre-training: every token of whole texts is learnt.

Given rows of tokens and labels, the training is that of SFT; what differs (whole texts, no template, long texts cut
into rows) is in the data. A model directory without weights starts from random ones.
"""

from __future__ import annotations

from .sft import train

__all__ = ["train"]
