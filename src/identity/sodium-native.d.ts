/** The part of libsodium's binding that is used here. */
declare module 'sodium-native' {
  type Sodium = {
    crypto_sign_PUBLICKEYBYTES: number;
    crypto_sign_SECRETKEYBYTES: number;
    crypto_sign_seed_keypair(publicKey: Buffer, secretKey: Buffer, seed: Buffer): void;
    crypto_sign_detached(signature: Buffer, message: Buffer, secretKey: Buffer): void;
  };
  const sodium: Sodium;
  export default sodium;
}
