"""What a result depends on: the code that made it, and the content of its inputs."""

from .fingerprint import (
    Code as Code,
    code_of as code_of,
    content as content,
    converting_annotations as converting_annotations,
    differences as differences,
    files_in as files_in,
    read_source as read_source,
)
from .hashing import (
    BIG as BIG,
    NotCacheable as NotCacheable,
    digest_of as digest_of,
    file_facts as file_facts,
    is_big as is_big,
    sorted_json as sorted_json,
)
from .source import tree_of as tree_of
from .walk import Part as Part
