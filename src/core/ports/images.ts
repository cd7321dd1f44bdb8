/** Images: pulled, loaded, pushed, verified (images/). A port has its real implementation in the adapter named, and a fake in test/fakes. */
import type { ImageId } from '../ids.js';
import type { CheckDepth, CheckOptions, ImageCheck } from '../image-check.js';
import type { ImageDetails } from '../image-details.js';
import type { ImageRecord } from '../model.js';
import type { PullUnderWay } from '../pull-progress.js';
import type { OwnedFd } from './network.js';
import type { UnreadableFile } from './state.js';

/** images/: complete images by name, tag, digest or id. */
export interface ImageStore {
  pull(reference: string, auth: RegistryAuth | null, options: PullOptions): Promise<ImageRecord>;
  /** Whoever started them; those that began first come first. */
  pullsUnderWay(): PullUnderWay[];
  /** Gives an image one more name; whichever image had it loses it. */
  tag(reference: string, name: string): Promise<ImageRecord>;
  /** Sends an image to a registry; nothing of it changes here. */
  push(
    reference: string,
    destination: string,
    auth: RegistryAuth | null,
    options: PushOptions,
  ): Promise<PushedImage>;
  /**
   * Images as one tar archive. One that is named by a tag keeps that tag in it, one that is named by
   * anything else all of its tags.
   */
  save(
    references: readonly string[],
    format: ArchiveFormat,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
  /** The images of an archive, compressed or not. What was loaded before one that fails stays. */
  load(archive: AsyncIterable<Uint8Array>, options: LoadOptions): Promise<LoadedImage[]>;
  details(id: ImageId): Promise<ImageDetails>;
  /** By id, unique id prefix of at least 8 digits, tag or digest reference; undefined when absent. */
  find(reference: string): ImageRecord | undefined;
  list(): ImageRecord[];
  /** As RootfsStorage.mountImage, of an artifact. */
  mountArtifact(id: ImageId, subPath: string): Promise<OwnedFd>;
  /**
   * Removes the image with all its tags and digests, and every layer no other image needs. Answers the
   * bytes that came back; 0 for an image that is not there.
   */
  remove(id: ImageId): Promise<number>;
  /**
   * Removes what no image needs, now and after each removal; before the first call nothing but records
   * is removed. What images in `inUse` have unpacked stays, whether they are listed or not.
   */
  startCollecting(inUse: () => ReadonlySet<ImageId>): Promise<void>;
  /** Finds damage, mends what can be mended without a registry, and quarantines single images. */
  check(options: CheckOptions): Promise<ImageCheck>;
  /** What check is to be made after this start; null for none. */
  dueCheck(): CheckDepth | null;
  /** Images that are not used, with the reason. */
  unreadable(): UnreadableFile[];
  usage(): Promise<{
    mountpoint: string;
    usedBytes: number;
    inodesUsed: number;
    timestamp: bigint;
  }>;
}

export interface RegistryAuth {
  username: string;
  password: string;
  /** base64 of `username:password`, when the two are empty. */
  auth: string;
  serverAddress: string;
  identityToken: string;
  registryToken: string;
}

export interface PushOptions {
  signal: AbortSignal;
  onProgress: (blob: BlobPush) => void;
}

/** How far one blob of a push is. 'mounted': another repository of the registry had it. */
export interface BlobPush {
  digest: string;
  size: number;
  /** May go back, when an upload must begin again. */
  sentBytes: number;
  state: 'waiting' | 'uploading' | 'done' | 'present' | 'mounted';
}

export interface PushedImage {
  /** Of the manifest that has the name in the registry now. */
  digest: string;
  sentBytes: number;
}

export type ArchiveFormat = 'oci-archive' | 'docker-archive';

export interface LoadOptions {
  /** What an image without a name is called after: the archive's file, '' for none. */
  name: string;
  signal: AbortSignal;
  /** Called before each image is unpacked. */
  onStart?: (load: PullUnderWay) => void;
}

export interface LoadedImage {
  id: ImageId;
  /** Full references with a tag; empty for an image that the archive has no name for. */
  names: string[];
}

export interface PullOptions {
  /**
   * Root asks, and may read any file of this node. Others name images in pods: of files they get what
   * `images.local_sources` lists.
   */
  anyFile?: boolean;
  signal?: AbortSignal;
  /** Called once, before anything is fetched, also for a caller that joins a pull under way. */
  onStart?: (pull: PullUnderWay) => void;
}

/** images/signature: whether images are signed as a policy demands. */
export interface ImageVerifier {
  /**
   * Of an image, here or not; throws 'signature-invalid' when it is not accepted. Of one that is named
   * by its id, what it was pulled as is checked.
   */
  verify(
    reference: string,
    auth: RegistryAuth | null,
    options: { check: SignatureCheck; signal: AbortSignal },
  ): Promise<VerifiedImage>;
}

/** What an image is checked against: the host's policy, or what a person asks for in place of it. */
export type SignatureCheck =
  | { kind: 'host' }
  /** The text of a policy file or of a public key; `name` is for messages. */
  | { kind: 'policy' | 'key'; name: string; content: Uint8Array };

/** A signature that met a requirement. */
export interface Verification {
  /** File of the public key, or its place in the policy. */
  key: string;
  fingerprint: string;
  /** What was signed: an index or a manifest. */
  digest: string;
  /** The name it was signed under; '' for a signature of a digest alone. */
  identity: string;
}

export interface VerifiedImage {
  /** `registry/repository@sha256:…` of what the reference leads to now. */
  repoDigest: string;
  /** Of the image on this host with that content; undefined when it was not pulled. */
  id: ImageId | undefined;
  /** The place in the policy that counted. */
  where: string;
  /** Empty when it accepts anything. */
  verifications: Verification[];
}
